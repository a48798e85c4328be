"""Large writes past the page cache (open(2), O_DIRECT).

The page cache costs a copy, pages to find and to give back, and a second pass over all of them when the file
is synchronized: with it a gigabyte takes several times the processor time. A received file is rarely read at
once. The kernel wants whole blocks at aligned addresses. A piece that is so is written as it is; other data
is copied into a buffer of the thread, and the bytes before and behind whole blocks are written in the usual
way.
"""

from __future__ import annotations

import ctypes
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
        position = os.lseek(file, 0, os.SEEK_CUR)
        if len(pieces) == 1 and not (position | length) % BLOCK and _is_aligned(pieces[0]):
            digest.update(pieces[0])
            self._write_blocks(file, memoryview(pieces[0]))
            return
        rest = _Rest(pieces, length)
        while rest.length:
            head = -position % BLOCK
            wanted = head or min(_BUFFER, rest.length)
            filled = rest.read(self._buffer.view[:wanted])
            digest.update(filled)
            whole = 0 if head else len(filled) - len(filled) % BLOCK
            if whole:
                self._write_blocks(file, filled[:whole])
            if whole < len(filled):
                write_pieces(file, (filled[whole:],))
            position += len(filled)

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


def _is_aligned(piece: Piece) -> bool:
    """Tell whether a piece begins where a block may be written from."""
    if isinstance(piece, bytes) or memoryview(piece).readonly:
        return False
    return ctypes.addressof(ctypes.c_char.from_buffer(piece)) % BLOCK == 0


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
