"""Large writes past the page cache (open(2), O_DIRECT).

The page cache costs a copy, pages to find and to give back, and a second pass over all of them when the file
is synchronized: with it a gigabyte takes several times the processor time. A received file is rarely read at
once. The kernel wants whole blocks at aligned addresses. A piece whose place in memory fits its place in the
file is written from where it is; others are copied into a buffer of the thread. The bytes before and behind
whole blocks are written in the usual way.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from threading import local

from sockd_plugins.files.storage.aligned import address, aligned_memory
from sockd_plugins.files.storage.digests import Digest
from sockd_plugins.files.storage.pieces import Piece, write_pieces

BLOCK = 4096
"""Bytes of a block: no disk in use has larger ones."""

LEAST = 1 << 18
"""Bytes below which a write goes through the page cache, which answers sooner and joins small writes."""

_BUFFER = 1 << 21
"""Bytes to copy and write at once: a huge page, and few enough for the processor's cache."""

_CANNOT = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


class _Buffer(local):
    """Aligned buffer, one for each thread."""

    def __init__(self) -> None:
        self.view = memoryview(aligned_memory(_BUFFER)).cast("B")


class DirectWriter:
    """Writer for the files of one file system, in the usual way once that turns out not to know the other."""

    def __init__(self) -> None:
        self._works = hasattr(os, "O_DIRECT")
        self._buffer = _Buffer()

    def write(self, file: int, pieces: Sequence[Piece], digest: Digest) -> None:
        """Write pieces at the position of a file, and add them to its digest.

        Args:
            file: a descriptor that nobody else uses meanwhile.
            pieces: the bytes.
            digest: of the file.

        Raises:
            OSError: not all of them are written; the position is unknown.
        """
        if not self._works or sum(map(len, pieces)) < LEAST:
            write_pieces(file, pieces)
            for piece in pieces:
                digest.update(piece)
            return
        position = os.lseek(file, 0, os.SEEK_CUR)
        for part in self._in_place(pieces, position):
            digest.update(part)
            self._write_part(file, part, position)
            position += len(part)

    def _in_place(self, pieces: Sequence[Piece], position: int) -> Iterator[memoryview]:
        """Split pieces into parts whose addresses fit their places in the file; copy what does not fit.

        Args:
            pieces: the bytes.
            position: of the first of them in the file.
        """
        buffer = self._buffer.view
        start = end = position % BLOCK  # what is copied, in the buffer
        for piece in pieces:
            if _fits(piece, position + end - start):
                if start < end:
                    yield buffer[start:end]
                position += end - start + len(piece)
                start = end = position % BLOCK
                yield memoryview(piece)
                continue
            rest = memoryview(piece)
            while rest:
                part = rest[: len(buffer) - end]
                buffer[end : end + len(part)] = part
                end += len(part)
                rest = rest[len(part) :]
                if end == len(buffer):
                    yield buffer[start:end]
                    position += end - start
                    start = end = 0
        if start < end:
            yield buffer[start:end]

    def _write_part(self, file: int, part: memoryview, position: int) -> None:
        """Write a part at the position of the file, as much of it as whole blocks past the page cache."""
        head = min(-position % BLOCK, len(part))
        tail = (position + len(part)) % BLOCK if head < len(part) else 0
        blocks = part[head : len(part) - tail]
        if head:
            write_pieces(file, (part[:head],))
        if blocks:
            self._write_blocks(file, blocks)
        if tail:
            write_pieces(file, (part[-tail:],))

    def _write_blocks(self, file: int, blocks: memoryview) -> None:
        """Write whole blocks at the position of a file, which is at a block."""
        written = 0
        if self._works:
            # Each call gives other threads their turn, so that there are as few as can be. A part has no
            # other flag that can be changed.
            fcntl.fcntl(file, fcntl.F_SETFL, os.O_DIRECT)
            try:
                written = os.write(file, blocks)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._works = False
            finally:
                fcntl.fcntl(file, fcntl.F_SETFL, 0)
        if written < len(blocks):  # the disk is nearly full, or cannot do it
            write_pieces(file, (blocks[written:],))


def _fits(piece: Piece, position: int) -> bool:
    """Tell whether a large piece can be written from where it is, at a position in the file."""
    if isinstance(piece, bytes) or len(piece) < LEAST or (view := memoryview(piece)).readonly:
        return False
    return (address(view) - position) % BLOCK == 0
