"""Datagrams one by one: recvfrom(2), sendto(2)."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from sockd.datagram.wire import BATCH, MAX_UDP, Address, Name, error_name, zoned
from sockd.telemetry.events import ServiceEvents

MAX_UNIX = 256 * 1024
"""Bytes. A UNIX datagram is bounded by the sender's buffer, 208 KiB."""


class SingleWire:
    """For sockets of every family. A peer's name is its address as Python's sockets have it.

    Args:
        sock: open, and never waits.
        events: told about what is lost, and what has gone.
    """

    __slots__ = ("_events", "_inet6", "_longest", "_receive", "_send", "arrived")

    def __init__(self, sock: socket.socket, events: ServiceEvents) -> None:
        self.arrived = 0
        self._receive, self._send = sock.recvfrom, sock.sendto
        self._events = events
        self._inet6 = sock.family == socket.AF_INET6
        self._longest = MAX_UNIX if sock.family == socket.AF_UNIX else MAX_UDP

    def receive(self) -> Iterator[tuple[bytes, Address, Name]]:
        """As `Wire` has it. One that is longer than any should be is lost whole."""
        receive, longest = self._receive, self._longest
        for self.arrived in range(BATCH):
            try:
                # Into a new object of the longest size, which is then cut: cheaper than a copy from a buffer.
                datagram, name = receive(longest + 1)
            except BlockingIOError:
                return
            except OSError as error:  # the answer to something that was sent before
                self._events.dropped(None, error_name(error.errno))
                continue
            if len(datagram) > longest:
                self._events.dropped(name, "too large")
            elif self._inet6:
                yield datagram, (zoned(name[0], name[3]), name[1]), name
            else:
                yield datagram, name, name

    def send(self, datagram: bytes, name: Name) -> None:
        """As `Wire` has it: at once."""
        try:
            size = self._send(datagram, name)
        except OSError as error:
            self._events.dropped(name, error_name(error.errno))
        except TypeError:
            if name is not None:
                raise
            self._events.dropped(None, "no return address")
        else:
            self._events.datagrams_sent += 1
            self._events.sent += size

    def flush(self) -> None:
        """As `Wire` has it: nothing waits."""

    def name(self, address: Address) -> Name:
        """As `Wire` has it."""
        return address
