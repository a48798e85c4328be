"""Datagrams one by one: recvfrom(2), sendto(2); recvmsg(2) and sendmsg(2) on a port of all addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from sockd.datagram.asked import Asked
from sockd.datagram.wire import BATCH, MAX_UDP, Address, Name, Route, error_name, zoned
from sockd.telemetry.events import ServiceEvents


class SingleWire:
    """For UDP sockets. A peer's name is its address as Python's sockets have it.

    Args:
        sock: open, and never waits.
        events: told about what is lost, and what has gone.
    """

    __slots__ = ("_events", "_inet6", "_receive", "_send", "arrived")

    routed: ClassVar[bool] = False
    """Whether a name includes the address of ours that was asked."""

    def __init__(self, sock: socket.socket, events: ServiceEvents) -> None:
        self.arrived = 0
        self._receive: Callable[[int], tuple[bytes, Any]] = sock.recvfrom
        self._send: Callable[[bytes, Any], int] = sock.sendto
        self._events = events
        self._inet6 = sock.family == socket.AF_INET6

    def receive(self) -> Iterator[tuple[bytes, Address, Name]]:
        """Implement `Wire.receive`."""
        receive = self._receive
        for self.arrived in range(BATCH):
            try:
                # Into a new object of the longest size, which is then cut: cheaper than a copy from a buffer.
                datagram, name = receive(MAX_UDP)
            except BlockingIOError:
                return
            except OSError as error:  # the answer to something that was sent before
                self._events.dropped(None, error_name(error.errno))
                continue
            if self._inet6:
                yield datagram, (zoned(name[0], name[3]), name[1]), name
            else:
                yield datagram, name[:2] if self.routed else name, name

    def send(self, datagram: bytes, name: Name) -> None:
        """Implement `Wire.send`: at once."""
        try:
            size = self._send(datagram, name)
        except OSError as error:
            self._events.dropped(name, error_name(error.errno))
        else:
            self._events.datagrams_sent += 1
            self._events.sent += size

    def flush(self) -> None:
        """Implement `Wire.flush`: nothing waits."""

    def name(self, address: Address, route: Route = b"") -> Name:  # noqa: ARG002  # there is but one
        """Implement `Wire.name`."""
        return address

    def route(self, name: Name) -> Route:  # noqa: ARG002  # as above
        """Implement `Wire.route`."""
        return b""


class AskedWire(SingleWire):
    """For a UDP port of all addresses. A peer's name is its address, and the one of ours that it has asked.

    Args:
        sock: open, and never waits.
        events: told about what is lost, and what has gone.
        asked: how the kernel tells which address was asked.
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

    def _sent(self, datagram: bytes, name: Name) -> int:
        *address, route = name
        return self._send_message((datagram,), self._asked.message(route), 0, tuple(address))

    def name(self, address: Address, route: Route = b"") -> Name:
        """Implement `Wire.name`."""
        return *address, route

    def route(self, name: Name) -> Route:
        """Implement `Wire.route`."""
        return bytes(name[-1])
