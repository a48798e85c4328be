"""`sockd chat`: join a chat."""

from __future__ import annotations

import getpass

import click

from sockd.cli.address import Address, AddressType
from sockd.cli.connect import converse, opened


@click.command()
@click.argument("address", type=AddressType())
@click.option("-n", "--name", help="What others call you; your login name if left out.")
def chat(address: Address, name: str | None) -> None:
    """Join the chat at ADDRESS, over TCP, UDP or UNIX sockets.

    `/help` lists what you can do, `/quit` leaves.
    """
    name = name or getpass.getuser()
    with opened(address) as sock:
        sock.sendall(name.encode() + b"\n" if address.stream else f"/nick {name}".encode())
        converse(sock, address, wait=1.0)
