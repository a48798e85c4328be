"""Connection to a service, on which answers are read while data is sent."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from sockd.cli.address import Address, reason
from sockd.cli.send.wire import MAX_ANSWER
from sockd.cli.tls import ALERT, NEEDS_TLS, TlsSocket

_CONNECT_SECONDS = 10.0

STALL_SECONDS = 300.0
"""Seconds for which the server may take and answer nothing: the last flush of a large file to a slow disk
comes before its answer."""

_UNACKNOWLEDGED_SECONDS = 120
"""Seconds after which a connection is broken whose data no machine acknowledges (TCP_USER_TIMEOUT)."""

_MOST_LINES = 4096
"""Lines of the server that wait to be heard; it owes two to each of a few hundred files at most."""

_READS = 16
"""Reads in a row, after which it is our turn, however much the server says."""

_SLICE = 0.25  # seconds of a wait, after which an interruption is noticed in every thread
_READ = 65_536
_PIECE = 32_768  # bytes to encrypt at a time

_RESET = struct.pack("ii", 1, 0)


class Lost(Exception):
    """Loss of the connection; the text tells why."""


class Interrupted(Exception):
    """End of the work by the person who began it."""


class Channel:
    """Open connection to a service.

    Args:
        address: of the service.
        interrupted: tells whether the work is to end.

    Raises:
        Lost: the service cannot be reached.
    """

    def __init__(self, address: Address, interrupted: Callable[[], bool]) -> None:
        try:
            sock = address.connect(_CONNECT_SECONDS)
        except OSError as error:
            raise Lost(reason(error)) from None
        self._sock = sock
        self._tls = isinstance(sock, TlsSocket)
        self._interrupted = interrupted
        self._lines: deque[bytes] = deque()
        self._unread = bytearray()
        self._silent = True  # nothing has come yet
        self._end: str | None = None  # why nothing more comes
        if address.kind == "tcp":
            self._tune()
        sock.setblocking(False)

    def send(self, data: bytes | bytearray | memoryview) -> bool:
        """Send data, and read the answers that come meanwhile.

        Returns:
            False if the server takes no more: its last answer may tell why.

        Raises:
            Lost: the server has taken nothing for `STALL_SECONDS`.
        """
        view = memoryview(data)
        while view and self._end is None:
            piece = bytes(view[:_PIECE]) if self._tls else view
            try:
                while self._end is None:
                    try:
                        view = view[self._sock.send(piece) :]  # type: ignore[arg-type]
                        break
                    except BlockingIOError:
                        self._wait(STALL_SECONDS, writing=True)
                        self._read()
            except OSError as error:
                self._read()  # what came before the reset
                self._end = self._end or reason(error)
        self._read()
        return self._end is None

    def heard(self) -> bytes | None:
        """Return a line that has arrived, if there is one."""
        return self._lines.popleft() if self._lines else None

    def line(self, seconds: float = STALL_SECONDS) -> bytes:
        """Return the next line.

        Raises:
            Lost: none came in time, or the connection has ended.
        """
        until = time.monotonic() + seconds
        while not self._lines:
            if self._end is not None:
                raise Lost(self._end)
            if (left := until - time.monotonic()) <= 0:
                raise Lost(f"no answer for {seconds:.0f} seconds")
            self._wait(left)
            self._read()
        return self._lines.popleft()

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def reset(self) -> None:
        """Reset the connection, so that a server that takes any bytes for a file does not take these."""
        with suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()

    def _wait(self, seconds: float, *, writing: bool = False) -> None:
        """Wait until something can be read, or written; at most so many seconds."""
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN | (select.POLLOUT if writing else 0))
        while not poll.poll(_SLICE * 1000):
            if self._interrupted():
                raise Interrupted
            if time.monotonic() >= until:
                if writing:
                    raise Lost(f"the server has taken nothing for {seconds:.0f} seconds")
                return

    def _read(self) -> None:
        """Read what has arrived, without a wait."""
        if self._interrupted():
            raise Interrupted
        for _ in range(_READS):
            if self._end is not None:
                break
            try:
                data = self._sock.recv(_READ)
            except BlockingIOError:
                break
            except OSError as error:
                self._end = reason(error)
                break
            if not data:
                self._end = "the server closed the connection without an answer"
                break
            if self._silent and not self._tls and data.startswith(ALERT):
                self._end = NEEDS_TLS
                break
            self._silent = False
            self._take(data)

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._unread + data).split(b"\n")
        self._unread = bytearray(rest)
        self._lines.extend(bytes(line.removesuffix(b"\r")) for line in lines)
        if len(self._unread) > MAX_ANSWER or len(self._lines) > _MOST_LINES:
            self._end = "the server speaks another protocol"

    def _tune(self) -> None:
        """Send small pieces at once, and notice a peer that is gone."""
        one = struct.pack("i", 1)
        with suppress(OSError):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, one)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, one)
            waits = struct.pack("i", _UNACKNOWLEDGED_SECONDS * 1000)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, waits)
