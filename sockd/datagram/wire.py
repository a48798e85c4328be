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
"""An address in the form that a wire sends to, and from which of ours."""

Route = bytes
"""What an answer that comes later needs besides the address. On a UDP port of all addresses: which of them
the peer has asked, as `struct in_pktinfo` or `in6_pktinfo` has it (ip(7), RFC 3542, 6.2); over UNIX sockets:
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
        """The name of a peer by its address, and what else an answer needs."""

    def route(self, name: Name) -> Route:
        """What an answer that comes later needs besides the address."""


def error_name(number: int | None) -> str:
    """As `errno` has it: ECONNREFUSED."""
    return errno.errorcode.get(number or 0, f"error {number}")


def zoned(host: str, zone: int) -> str:
    """A link-local IPv6 address tells its interface too, or no reply would find its way (RFC 4007)."""
    return f"{host}%{zone}" if zone else host
