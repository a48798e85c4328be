"""`sockd time`: ask a time service."""

from __future__ import annotations

import os

import click

from sockd.cli.address import Address, of_service, reason
from sockd.cli.connect import connected
from sockd.cli.tls import ALERT, NEEDS_TLS
from sockd.text import printable

LARGEST_ANSWER = 1024


@click.command()
@of_service
@click.argument("format", default="")
@click.option(
    "--timeout", default=3.0, show_default=True, metavar="SECONDS", help="Seconds to wait for the answer."
)
def time(address: Address, format: str, timeout: float) -> None:  # noqa: A002  # name of the argument in the help
    """Print the time at the service at ADDRESS, in a strftime FORMAT or in the service's own."""
    with connected(address) as sock:
        sock.settimeout(timeout)
        try:
            if address.stream:
                sock.sendall(os.fsencode(format) + b"\n")
                with sock.makefile("rb") as answers:
                    answer = answers.readline(LARGEST_ANSWER)
            else:
                sock.send(os.fsencode(format))
                answer = sock.recv(LARGEST_ANSWER)
        except OSError as error:
            raise click.ClickException(f"{address}: {reason(error)}") from None
    if answer.startswith(ALERT) and not address.encrypted:
        raise click.ClickException(f"{address}: {NEEDS_TLS}")
    if not answer or (address.stream and not answer.endswith(b"\n")):
        raise click.ClickException(f"{address}: closed before it answered")
    text = printable(answer.decode(errors="backslashreplace").rstrip("\n"))
    if text.startswith("error:"):
        raise click.ClickException(f"{address}: {text.removeprefix('error:').strip()}")
    click.echo(text)
