"""Watch of every descriptor that is no stream of uvloop's: ports, pipes, wakers, third-party ones.

They are in an epoll of their own, which is all that uvloop watches of them. uvloop's own watchers stop for
good at the first POLLERR of a descriptor: an ICMP error would make a UDP port deaf.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.posixbase import _ContinuousPolling
from twisted.python.log import callWithLogger

BATCH = 128
"""Descriptors served in one turn, so that uvloop's own streams are not starved."""


class Descriptors:
    """Readers and writers of one reactor.

    A reader with a true attribute `without_log_context` is called without the prefix of its log lines, which
    takes as long as a read.

    Args:
        reactor: has the `_doReadOrWrite` that serves one of them, as Twisted's polling reactors do.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._poller = select.epoll()
        self.reads: dict[int, Any] = {}
        self.writes: dict[int, Any] = {}
        # Files, which epoll refuses, are tried again and again.
        self._files: Any = _ContinuousPolling(reactor)

    def fileno(self) -> int:
        """Return the epoll's descriptor, which is readable when any of them is ready."""
        return self._poller.fileno()

    def add_reader(self, reader: Any) -> None:
        """Call `reader.doRead` when there is something to read."""
        if not self._add(reader, self.reads, self.writes):
            self._files.addReader(reader)

    def add_writer(self, writer: Any) -> None:
        """Call `writer.doWrite` when it can be written to."""
        if not self._add(writer, self.writes, self.reads):
            self._files.addWriter(writer)

    def remove_reader(self, reader: Any) -> None:
        """Stop reading from it."""
        self._remove(reader, self.reads, self.writes)
        self._files.removeReader(reader)

    def remove_writer(self, writer: Any) -> None:
        """Stop writing to it."""
        self._remove(writer, self.writes, self.reads)
        self._files.removeWriter(writer)

    def readers(self) -> list[Any]:
        """Return everything that is read from."""
        return [*self.reads.values(), *self._files.getReaders()]

    def writers(self) -> list[Any]:
        """Return everything that is written to."""
        return [*self.writes.values(), *self._files.getWriters()]

    def serve(self) -> None:
        """Let the ready ones read and write, at most `BATCH`."""
        serve: Callable[..., None] = self._reactor._doReadOrWrite
        for fd, event in self._poller.poll(0, BATCH):
            selectable = self.reads.get(fd) or self.writes.get(fd)
            if selectable is None:  # another one that was served before has removed it
                continue
            if event & select.EPOLLERR and _is_datagram(selectable):
                event |= select.EPOLLIN  # an error of one datagram, which reading clears
            if getattr(selectable, "without_log_context", False):
                serve(selectable, fd, event)
            else:
                callWithLogger(selectable, serve, selectable, fd, event)

    def _add(self, one: Any, these: dict[int, Any], others: dict[int, Any]) -> bool:
        """Watch a descriptor; return False for a file, which epoll cannot watch."""
        fd = one.fileno()
        if fd in these:
            return True
        try:
            if fd in others:
                self._poller.modify(fd, select.EPOLLIN | select.EPOLLOUT)
            else:
                self._poller.register(fd, select.EPOLLIN if these is self.reads else select.EPOLLOUT)
        except PermissionError:
            return False
        these[fd] = one
        return True

    def _remove(self, one: Any, these: dict[int, Any], others: dict[int, Any]) -> None:
        fd = one.fileno()
        if fd == -1:  # closed already; find the number that it had
            fd = next((known for known, other in these.items() if other is one), -1)
        if these.pop(fd, None) is None:
            return
        with suppress(OSError):  # epoll drops a closed descriptor by itself
            if fd in others:
                self._poller.modify(fd, select.EPOLLOUT if these is self.reads else select.EPOLLIN)
            else:
                self._poller.unregister(fd)


def _is_datagram(selectable: Any) -> bool:
    handle = getattr(selectable, "socket", None)
    return isinstance(handle, socket.socket) and handle.type == socket.SOCK_DGRAM
