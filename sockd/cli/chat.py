"""`sockd chat`: join a chat."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from contextlib import suppress

import click

from sockd.cli.address import Address, of_service, reason
from sockd.cli.connect import CONNECT_TIMEOUT, connected, converse, on_terminal
from sockd.cli.tls import ALERT, NEEDS_TLS, TlsSocket
from sockd.text import decoded

QUIT = b"/quit"

GREETING = "* welcome"
"""Beginning of the line in which a chat asks for the name."""


@click.command()
@of_service
@click.option("-n", "--name", help="Your name in the chat; by default your login name.")
def chat(address: Address, name: str | None) -> None:
    """Join the chat at ADDRESS, over TCP, TLS, UDP or UNIX sockets.

    `/help` lists what you can do, `/quit` leaves, and so does the end of the input.

    Exit code 0: success. 1: no connection, or it broke, or there was no answer; without a terminal also if
    the name is refused.
    """
    name = name or getpass.getuser()
    if "\n" in name:
        raise click.BadParameter("expected one line", param_hint="--name")
    with connected(address) as sock:
        try:
            sock.sendall(os.fsencode(name) + b"\n" if address.stream else b"/nick " + os.fsencode(name))
            if admitted := not on_terminal():
                _be_admitted(sock, address, name)
        except OSError as error:
            raise click.ClickException(f"{address}: {reason(error)}") from None
        converse(sock, address, wait=1.0, farewell=QUIT, heard=admitted)


def _be_admitted(sock: socket.socket | TlsSocket, address: Address, name: str) -> None:
    """Wait until the chat has taken the name, because there is no person to choose another one."""
    sock.settimeout(CONNECT_TIMEOUT)
    heard = unfinished = b""
    while True:
        heard += (data := sock.recv(65_536))
        if data.startswith(ALERT) and not address.encrypted:
            raise click.ClickException(f"{address}: {NEEDS_TLS}")
        if not data and address.stream:
            raise click.ClickException(f"{address}: closed before it let {name} in")
        *lines, unfinished = (unfinished + data).split(b"\n")
        for line in map(decoded, lines):
            if line.startswith(f"* you are {name} in "):
                sys.stdout.buffer.write(heard)
                sys.stdout.flush()
                return
            if not line.startswith(GREETING):
                with suppress(OSError):
                    sock.sendall(QUIT + b"\n" * address.stream)
                raise click.ClickException(f"{address}: {line.removeprefix('* ')}")
