"""Large writes past the page cache (open(2), O_DIRECT).

The page cache costs a copy, pages to find and to give back, and a second pass over all of them when the file
is synchronized: with it a gigabyte takes several times the processor time. A received file is rarely read at
once. The kernel wants whole blocks at aligned addresses, so the data is copied into a buffer of the thread;
the bytes before and behind whole blocks are written in the usual way.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from threading import local

from sockd_plugins.files.storage.digests import Digest
from sockd_plugins.files.storage.pieces import Piece, write_pieces

BLOCK = 4096
"""Bytes of a block: no disk in use has larger ones."""

LEAST = 1 << 18
"""Bytes below which a write goes through the page cache, which answers sooner and joins small writes."""

_BUFFER = 1 << 20
"""Bytes to write at once: enough for the disk, and few enough to stay in the processor's cache meanwhile."""

_CANNOT = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


class _Buffer(local):
    """Aligned buffer, one for each thread."""

    def __init__(self) -> None:
        self.view = memoryview(mmap(-1, _BUFFER, flags=MAP_PRIVATE | MAP_ANONYMOUS))


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
        length = sum(map(len, pieces))
        if not self._works or length < LEAST:
            write_pieces(file, pieces)
            for piece in pieces:
                digest.update(piece)
            return
        rest = _Rest(pieces, length)
        position = os.lseek(file, 0, os.SEEK_CUR)
        while rest.length:
            head = -position % BLOCK
            wanted = head or min(_BUFFER, rest.length)
            filled = rest.read(self._buffer.view[:wanted])
            digest.update(filled)
            whole = 0 if head else len(filled) - len(filled) % BLOCK
            if whole:
                self._write_blocks(file, filled[:whole], position)
            if whole < len(filled):
                write_pieces(file, (filled[whole:],))
            position += len(filled)

    def _write_blocks(self, file: int, blocks: memoryview, position: int) -> None:
        """Write whole blocks; leave the file's position behind them."""
        written = 0
        if self._works:
            flags = fcntl.fcntl(file, fcntl.F_GETFL)
            try:
                fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT)
                written = os.pwrite(file, blocks, position)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._works = False
            finally:
                fcntl.fcntl(file, fcntl.F_SETFL, flags)
            os.lseek(file, position + written, os.SEEK_SET)
        if written < len(blocks):  # the disk is nearly full, or cannot do it
            write_pieces(file, (blocks[written:],))


class _Rest:
    """Pieces that are not written yet."""

    def __init__(self, pieces: Sequence[Piece], length: int) -> None:
        self.length = length
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")

    def read(self, buffer: memoryview) -> memoryview:
        """Fill a buffer as far as there are bytes; return the part that is filled."""
        size = min(len(buffer), self.length)
        position = 0
        while position < size:
            if not self._piece:
                self._piece = memoryview(next(self._pieces))
            part = self._piece[: size - position]
            buffer[position : position + len(part)] = part
            self._piece = self._piece[len(part) :]
            position += len(part)
        self.length -= size
        return buffer[:size]
