"""Datagrams as a socket has them, whatever the address family."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any, Protocol

BATCH = 64
"""Datagrams read in one turn of the reactor, of whatever size: a flood must not starve the others."""

MAX_UDP = 65_535
"""Bytes. No UDP datagram is longer."""

Address = Any
"""`(host, port)` over UDP; a path (str), an abstract name (bytes) or None over UNIX sockets."""

Name = Any
"""A peer's address in the form that a wire sends to, with the address of ours to send from."""

Route = bytes
"""Data besides the address that a later answer needs. On a UDP port of all addresses: which of them the peer
has asked, as `struct in_pktinfo` or `in6_pktinfo` has it (ip(7), RFC 3542, 6.2); over UNIX sockets:
the sender's user; elsewhere empty."""


class Wire(Protocol):
    """A way to read and send one socket's datagrams.

    To lose some is no fault: each is told to the service's events, which also count what has gone.
    """

    arrived: int
    """Datagrams that the last turn took."""

    def receive(self) -> Iterable[tuple[bytes, Address, Name]]:
        """What has arrived, a batch at most; what is left comes with the next turn."""

    def send(self, datagram: bytes, name: Name) -> None:
        """Send it, or let it wait for the next ones, until `flush`."""

    def flush(self) -> None:
        """Send what waits."""

    def name(self, address: Address, route: Route) -> Name:
        """The name of a peer, from its address and the route of an answer."""

    def route(self, name: Name) -> Route:
        """The data besides the address that a later answer needs."""


def error_name(number: int | None) -> str:
    """As `errno` has it: ECONNREFUSED."""
    return errno.errorcode.get(number or 0, f"error {number}")


def zoned(host: str, zone: int) -> str:
    """A link-local IPv6 address tells its interface too, or no reply would find its way (RFC 4007)."""
    return f"{host}%{zone}" if zone else host
