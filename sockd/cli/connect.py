"""`sockd connect`: a service by hand, over streams and datagrams."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable
from typing import BinaryIO

import click

from sockd.cli.address import Address, AddressType, reason
from sockd.text import printable

CONNECT_TIMEOUT = 10.0
"""Seconds until a peer that does not answer is given up."""

LARGEST_READ = 65_536

PROMPT = "> "


@click.command()
@click.argument("address", type=AddressType())
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for answers to datagrams after the end of the input.",
)
def connect(address: Address, wait: float) -> None:
    """Talk to the service at ADDRESS, such as tcp:7007, HOST:7007, udp:7007, unix:PATH or unixgram:PATH.

    On a terminal there is a prompt; in a pipe bytes go through unchanged. Over datagrams each line is one
    datagram, without its line end.
    """
    with opened(address) as sock:
        converse(sock, address, wait=wait)


def opened(address: Address) -> socket.socket:
    """Connect, or end with one clear line."""
    try:
        return address.connect(CONNECT_TIMEOUT)
    except OSError as error:
        raise click.ClickException(f"cannot connect to {address}: {reason(error)}") from None


def converse(sock: socket.socket, address: Address, *, wait: float) -> None:
    """Pass standard input to the service and its answers to standard output, until both have ended."""
    sock.settimeout(None)
    show = _on_terminal if sys.stdout.isatty() else _in_pipe(sys.stdout.buffer, address)
    prompt = PROMPT if sys.stdin.isatty() and sys.stdout.isatty() else ""
    try:
        _exchange(sock, address, show, prompt, wait)
    except KeyboardInterrupt:
        click.echo(err=True)
        raise SystemExit(130) from None  # as a shell reports SIGINT
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        raise click.ClickException(f"{address}: {reason(error)}") from None


def _exchange(
    sock: socket.socket, address: Address, show: Callable[[bytes], None], prompt: str, wait: float
) -> None:
    standard_input = sys.stdin.fileno()
    lines = unsent = b""
    open_input, ended = True, not address.stream
    sock.setblocking(False)
    print(prompt, end="", flush=True)
    while True:
        # Input waits until the service has taken what came before: it may be waiting for us to read.
        reading = [sock, standard_input] if open_input and not unsent else [sock]
        timeout = None if open_input or address.stream else wait
        ready, writable, _ = select.select(reading, [sock] if unsent else [], [], timeout)
        if not ready and not writable:
            return
        if sock in ready:
            data = sock.recv(LARGEST_READ)
            if not data and address.stream:
                return
            if prompt:
                print("\r\x1b[K", end="", flush=True)
            show(data)
            print(prompt, end="", flush=True)
        if writable:
            unsent = unsent[sock.send(unsent) :]
        if standard_input in ready:
            data = os.read(standard_input, LARGEST_READ)
            open_input = bool(data)
            if address.stream:
                unsent = data
            else:
                *complete, lines = (lines + data).split(b"\n")
                for line in complete if data or not lines else [lines]:
                    select.select([], [sock], [])
                    sock.send(line)
            if data:
                print(prompt, end="", flush=True)
        if not (open_input or unsent or ended):
            sock.shutdown(socket.SHUT_WR)
            ended = True


def _on_terminal(data: bytes) -> None:
    """Show text, with whatever a terminal would obey made visible."""
    text = data.decode(errors="backslashreplace").removesuffix("\n")
    for line in text.split("\n"):
        print(printable(line.removesuffix("\r")))


def _in_pipe(out: BinaryIO, address: Address) -> Callable[[bytes], None]:
    """Pass bytes on; each datagram becomes a line."""
    end = b"" if address.stream else b"\n"

    def show(data: bytes) -> None:
        out.write(data + end)
        out.flush()

    return show
