"""Datagrams one by one: recvfrom(2), sendto(2); recvmsg(2) and sendmsg(2) on a port of all addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from sockd.datagram.asked import Asked
from sockd.datagram.wire import BATCH, MAX_UDP, Address, Destination, Route, error_name, zoned
from sockd.telemetry.events import ServiceEvents

ALONE = 8
"""Turns in a row with one datagram each, after which only every eighth turn looks for a second one: a peer
that waits for each answer sends none, and a look in vain costs as much as the read."""


class SingleWire:
    """Wire for UDP sockets, one datagram with each call. A destination is an address of Python's sockets.

    Args:
        sock: open and non-blocking.
        events: counts datagrams sent and dropped.
    """

    __slots__ = ("_alone", "_events", "_inet6", "_receive", "_send", "arrived")

    routed: ClassVar[bool] = False
    """True if a destination includes the local address that was asked."""

    def __init__(self, sock: socket.socket, events: ServiceEvents) -> None:
        self.arrived = 0
        self._alone = 0  # turns in a row with one datagram
        self._receive: Callable[[int], tuple[bytes, Any]] = sock.recvfrom
        self._send: Callable[[bytes, Any], int] = sock.sendto
        self._events = events
        self._inet6 = sock.family == socket.AF_INET6

    def receive(self) -> Iterator[tuple[bytes, Address, Destination]]:
        """Implement `Wire.receive`."""
        receive, alone = self._receive, self._alone
        looks = alone < ALONE or alone % ALONE == 0
        for self.arrived in range(BATCH if looks else 1):
            try:
                # A new object of the longest size, then shortened, is cheaper than a copy from a buffer.
                datagram, destination = receive(MAX_UDP)
            except BlockingIOError:
                break
            except OSError as error:  # error of an earlier answer
                self._events.dropped(None, error_name(error.errno))
                continue
            if self._inet6:
                yield datagram, (zoned(destination[0], destination[3]), destination[1]), destination
            else:
                yield datagram, destination[:2] if self.routed else destination, destination
        else:
            self.arrived += 1
        self._alone = alone + 1 if self.arrived == 1 else 0

    def send(self, datagram: bytes, destination: Destination) -> None:
        """Implement `Wire.send`; sends at once."""
        try:
            size = self._send(datagram, destination)
        except OSError as error:
            self._events.dropped(destination, error_name(error.errno))
        else:
            self._events.datagrams_sent += 1
            self._events.sent += size

    def flush(self) -> None:
        """Implement `Wire.flush`; does nothing, because no datagram waits."""

    def destination(self, address: Address, route: Route = b"") -> Destination:  # noqa: ARG002  # there is but one
        """Implement `Wire.destination`."""
        return address

    def route(self, destination: Destination) -> Route:  # noqa: ARG002  # as above
        """Implement `Wire.route`."""
        return b""


class AskedWire(SingleWire):
    """Wire for a UDP port of all addresses. A destination is a peer's address and the local one it asked.

    Args:
        sock: open and non-blocking.
        events: counts datagrams sent and dropped.
        asked: reads which address was asked.
    """

    __slots__ = ("_asked", "_receive_message", "_send_message")

    routed: ClassVar[bool] = True

    def __init__(self, sock: socket.socket, events: ServiceEvents, asked: Asked) -> None:
        super().__init__(sock, events)
        self._asked = asked
        self._receive_message, self._send_message = sock.recvmsg, sock.sendmsg
        self._receive, self._send = self._received, self._sent

    def _received(self, size: int) -> tuple[bytes, Any]:
        datagram, control, _, address = self._receive_message(size, self._asked.control_size)
        return datagram, (*address, self._asked.route(control))

    def _sent(self, datagram: bytes, destination: Destination) -> int:
        *address, route = destination
        return self._send_message((datagram,), self._asked.message(route), 0, tuple(address))

    def destination(self, address: Address, route: Route = b"") -> Destination:
        """Implement `Wire.destination`."""
        return *address, route

    def route(self, destination: Destination) -> Route:
        """Implement `Wire.route`."""
        return bytes(destination[-1])
