"""Datagrams of a socket, independent of its address family."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any, Protocol

BATCH = 64
"""Datagrams read in one turn of the reactor, of any size, so that a flood does not starve the others."""

MAX_UDP = 65_535
"""Bytes of a UDP datagram at most."""

Address = Any
"""Address of a peer: `(host, port)` over UDP; a path (str), an abstract name (bytes) or None over UNIX
sockets."""

Destination = Any
"""Address of a peer in the form that a wire sends to, with the local address to send from."""

Route = bytes
"""Data of a later answer besides the address. On a UDP port of all addresses: the local address that the peer
has asked, as `struct in_pktinfo` or `in6_pktinfo` (ip(7), RFC 3542, 6.2); over UNIX sockets: the sending
user; elsewhere empty."""


class Wire(Protocol):
    """Reader and sender of one socket's datagrams.

    Lost datagrams are no errors: each is reported to the service's events, which also count the sent ones.
    """

    arrived: int
    """Datagrams that the last turn read."""

    def receive(self) -> Iterable[tuple[bytes, Address, Destination]]:
        """Return what has arrived, at most a batch; the rest follows in the next turn."""

    def send(self, datagram: bytes, destination: Destination) -> None:
        """Send a datagram at once, or keep it until `flush` to send it with others."""

    def flush(self) -> None:
        """Send the datagrams that wait."""

    def destination(self, address: Address, route: Route) -> Destination:
        """Return the destination for a peer's address and the route of an answer."""

    def route(self, destination: Destination) -> Route:
        """Return the data of a later answer besides the address."""


def error_name(number: int | None) -> str:
    """Return the name of an error number, as `errno` has it: ECONNREFUSED."""
    return errno.errorcode.get(number or 0, f"error {number}")


def zoned(host: str, zone: int) -> str:
    """Add the interface to a link-local IPv6 address, without which no reply is possible (RFC 4007)."""
    return f"{host}%{zone}" if zone else host
