"""Way of a fast upload from the socket into buffers from which it is written to the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sockd.plugin import reads_into
from sockd_plugins.files.storage.direct import BLOCK
from sockd_plugins.files.storage.incoming import LEAST_WINDOW
from sockd_plugins.files.stream.inbox import Inbox
from sockd_plugins.files.stream.pool import Pool

_LEAST = 1 << 20
"""Bytes that are asked for at once, from which on a peer has buffers: its upload is fast, and large."""


class Intake:
    """Reading side of one peer: it is paused in time, and read into buffers if much comes.

    In a buffer the bytes are where the disk wants them, by their place in the file.

    Args:
        transport: of the peer.
        pool: has the buffers.
        inbox: gets the bytes.
        arrived: is told how many have come into a buffer.

    Attributes:
        window: bytes that may be in the inbox before the peer is paused.
        paused: whether it is.
    """

    def __init__(self, transport: Any, pool: Pool, inbox: Inbox, arrived: Callable[[int], None]) -> None:
        self.window = LEAST_WINDOW
        self.paused = False
        self._transport = transport
        self._pool = pool
        self._inbox = inbox
        self._arrived = arrived
        self._open = False
        self._offset = 0  # from the bytes that have ever come to a place in a block of the file
        self._buffer: memoryview | None = None
        self._end = 0  # of the bytes in it

    def regulate(self, *, short: bool) -> None:
        """Pause the peer, or read on, as the inbox and the memory say.

        Args:
            short: whether memory is short.
        """
        full = short or len(self._inbox) >= self.window
        if full != self.paused:
            self.paused = full
            if full:
                self._transport.pauseProducing()
            else:
                self._transport.resumeProducing()

    def expect(self, size: int) -> None:
        """Read into buffers if much is expected.

        Args:
            size: bytes that are wanted; if they are many, they end where a block of the file does.
        """
        was_open = self._open
        self._open = size >= _LEAST and reads_into(self._transport, self)
        if self._open:
            self._offset = len(self._inbox) - self._inbox.total - size
            if not was_open:
                self._pool.enter()
        elif was_open:
            self._buffer = None
            reads_into(self._transport, None)
            self._pool.leave()

    def end(self) -> None:
        """Read into no buffer any more, and tell nobody."""
        self.expect(0)
        self._arrived = _nobody

    def portion(self, size: int) -> int:
        """Return how many bytes to take for a write: about as many as are wanted, and whole buffers."""
        return self._inbox.uncut(size) if self._open else size

    def rest(self) -> None:
        """Leave the buffer to others, as nothing more has come."""
        self._buffer = None

    def space(self) -> memoryview | None:
        """Implement `sockd.plugin.Sink`."""
        if self._buffer is None or self._end == len(self._buffer):
            self._buffer = self._pool.take()
            self._end = (self._offset + self._inbox.total) % BLOCK
        return None if self._buffer is None else self._buffer[self._end :]

    def filled(self, size: int) -> None:
        """Implement `sockd.plugin.Sink`."""
        if self._buffer is not None:
            start, self._end = self._end, self._end + size
            self._inbox.append_from(self._buffer, start, self._end)
            self._arrived(size)


def _nobody(_: int) -> None:
    """Tell nobody."""
