"""Bytes that have arrived and wait for the conversation, kept in the pieces in which they came."""

from __future__ import annotations

from collections import deque

from sockd_plugins.files.storage.pieces import Piece

_SMALL = 4096  # bytes below which pieces are joined; an object of its own costs more than a copy


class Inbox:
    """Queue of bytes. Large pieces are passed on without a copy.

    Attributes:
        total: bytes that have ever been added at the end.
    """

    def __init__(self) -> None:
        self.total = 0
        self._pieces: deque[Piece] = deque()
        self._length = 0
        self._buffer: memoryview | None = None  # what the last piece is in, and where it ends there
        self._end = 0

    def __len__(self) -> int:
        return self._length

    def append(self, data: Piece) -> None:
        """Add the bytes that came last."""
        self._length += len(data)
        self.total += len(data)
        self._buffer = None
        pieces = self._pieces
        if pieces and len(pieces[-1]) + len(data) <= _SMALL:
            last = pieces[-1]
            if not isinstance(last, bytearray):
                last = pieces[-1] = bytearray(last)
            last += data
        else:
            pieces.append(data)

    def append_from(self, buffer: memoryview, start: int, end: int) -> None:
        """Add bytes that were read into a buffer; they are one piece with what they follow there.

        Args:
            buffer: where they are; they stay there as long as a piece refers to it.
            start: where they begin in it.
            end: where they end.
        """
        self._length += end - start
        self.total += end - start
        if self._pieces and self._buffer is buffer and self._end == start:
            start -= len(self._pieces.pop())
        self._pieces.append(buffer[start:end])
        self._buffer, self._end = buffer, end

    def prepend(self, data: Piece) -> None:
        """Put bytes before all others."""
        if data:
            self._length += len(data)
            self._pieces.appendleft(data)
            if len(self._pieces) == 1:
                self._buffer = None

    def head(self, most: int) -> bytes:
        """Return the first bytes, at most so many, without taking them."""
        if self._pieces and len(self._pieces[0]) >= min(most, self._length):
            return bytes(memoryview(self._pieces[0])[:most])
        taken = b"".join(self.take(most))
        self.prepend(taken)
        return taken

    def chunk(self, least: int) -> Piece:
        """Take the first piece whole; or the first bytes, of which there are enough, if it has fewer.

        Args:
            least: bytes, at least one.
        """
        if len(self._pieces[0]) < least:
            return b"".join(self.take(least))
        piece = self._pieces.popleft()
        self._length -= len(piece)
        return piece

    def uncut(self, most: int) -> int:
        """Return the length of the first pieces as far as they need not be cut, else `most`."""
        length = 0
        for piece in self._pieces:
            if length + len(piece) > most:
                break
            length += len(piece)
        return length or most

    def take(self, most: int) -> list[Piece]:
        """Take the first bytes, at most so many."""
        pieces = self._pieces
        if most >= self._length:
            taken = list(pieces)
            pieces.clear()
            self._length = 0
            self._buffer = None
            return taken
        self._length -= most
        taken = []
        while most:
            piece = pieces.popleft()
            if len(piece) > most:
                view = memoryview(piece)
                rest = view[most:]
                pieces.appendleft(rest if len(rest) > _SMALL else bytes(rest))
                piece = view[:most]
            most -= len(piece)
            taken.append(piece)
        return taken
