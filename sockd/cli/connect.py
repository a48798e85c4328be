"""`sockd connect`: talk to a service over streams and datagrams."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable
from typing import BinaryIO

import click

from sockd.cli.address import Address, of_service, reason
from sockd.cli.conversation import no_answer, printable_lines
from sockd.cli.peer import LARGEST_READ, Failed, Peer
from sockd.cli.tls import TlsSocket

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

_WITHOUT_CURSOR = ("", "dumb", "unknown")
"""Terminals that cannot change written text, such as the shell of an editor."""


@click.command()
@of_service
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds to wait for answers to datagrams after the end of the input.",
)
def connect(address: Address, wait: float) -> None:
    """Talk to the service at ADDRESS: tcp:7007, HOST:7007, tls:HOST:7007, udp:7007, unix:PATH, unixgram:PATH.

    On a terminal there is a prompt; in a pipe bytes go through unchanged. Over datagrams each line is one
    datagram, without its line end.

    Exit code 0: success. 1: no connection, or it broke, or datagrams had no answer.
    """
    with connected(address) as sock:
        converse(sock, address, wait)


def connected(address: Address) -> socket.socket | TlsSocket:
    """Connect, or end with one line."""
    try:
        return address.connect(CONNECT_TIMEOUT)
    except OSError as error:
        raise click.ClickException(f"cannot connect to {address}: {reason(error)}") from None


def on_terminal() -> bool:
    """Tell whether a person types and reads."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def converse(sock: socket.socket | TlsSocket, address: Address, wait: float) -> None:
    """Pass standard input to the service and its answers to standard output, until both have ended.

    Args:
        sock: connected to the service.
        address: of the service.
        wait: seconds for answers to datagrams, after the end of the input.
    """
    peer = Peer(sock, address)
    try:
        if on_terminal() and os.environ.get("TERM", "dumb") not in _WITHOUT_CURSOR:
            from sockd.cli.terminal import converse_on_terminal

            converse_on_terminal(peer, address, wait)
        else:
            show = _on_terminal if sys.stdout.isatty() else _in_pipe(sys.stdout.buffer, address)
            _converse_in_pipe(peer, address, show, wait)
        peer.judge()
    except Failed as failed:
        raise click.ClickException(str(failed)) from None
    except KeyboardInterrupt:
        click.echo(err=True)
        raise SystemExit(130) from None  # as a shell reports SIGINT
    except OSError as error:  # of standard input or output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # drops what it still holds
        if isinstance(error, BrokenPipeError):  # the reader has gone
            raise SystemExit(1) from None
        raise click.ClickException(f"cannot pass on what arrives: {reason(error)}") from None


def _converse_in_pipe(peer: Peer, address: Address, show: Callable[[bytes], None], wait: float) -> None:
    standard_input = sys.stdin.fileno()
    rest = b""
    while True:
        for data in peer.read():
            show(data)
        if peer.ended:
            _look_at_input(peer, standard_input)
            return
        # Input waits until the service has taken the earlier input: it may be waiting for a reader here.
        reading = [peer.sock] if peer.unsent or peer.finishing else [peer.sock, standard_input]
        timeout = wait if peer.finishing and not address.stream else None
        ready, writable, _ = select.select(reading, [peer.sock] if peer.unsent else [], [], timeout)
        if writable:
            peer.flush()
        if standard_input in ready:
            data = os.read(standard_input, LARGEST_READ)
            if address.stream and data:
                peer.write(data)
            elif not address.stream:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines if data or not rest else [rest]:
                    peer.write(line)
            if not data:
                peer.finish()
        if not ready and not writable:
            if peer.told and not peer.heard and wait:
                raise no_answer(address, wait)
            return


def _look_at_input(peer: Peer, standard_input: int) -> None:
    """Check, once the service has closed, whether the input has ended too."""
    if not peer.finishing and select.select([standard_input], [], [], 0)[0]:
        peer.finishing = not os.read(standard_input, 1)


def _on_terminal(data: bytes) -> None:
    """Print text, with control characters made visible."""
    for line in printable_lines(data):
        print(line)


def _in_pipe(out: BinaryIO, address: Address) -> Callable[[bytes], None]:
    """Return a function that passes bytes on, each datagram as a line."""

    def show(data: bytes) -> None:
        out.write(data if address.stream or data.endswith(b"\n") else data + b"\n")
        out.flush()

    return show
