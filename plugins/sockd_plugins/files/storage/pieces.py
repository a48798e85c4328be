"""Bytes in the pieces in which they came, and their ways into a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from itertools import islice

from sockd_plugins.files.storage.digests import Digest

Piece = bytes | bytearray | memoryview

_VECTORS = 1000  # pieces of one writev(2); IOV_MAX is 1024

_COPY = 4 << 20  # bytes to copy at once: few system calls, and still in the cache when they are hashed

_CANNOT_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


def write_pieces(file: int, pieces: Sequence[Piece]) -> None:
    """Write pieces at the position of a file.

    Raises:
        OSError: not all of them are written; the position is unknown.
    """
    if len(pieces) > _VECTORS:
        rest = iter(pieces)
        while group := tuple(islice(rest, _VECTORS)):
            write_pieces(file, group)
        return
    written = os.writev(file, pieces)
    if written < sum(map(len, pieces)):  # a signal, or the disk is nearly full
        left = memoryview(b"".join(pieces))[written:]
        while left:
            left = left[os.write(file, left) :]


def copy_file(source: int, file: int, size: int, digest: Digest) -> None:
    """Copy the first bytes of a file to the position of another, in the file system where it can.

    Args:
        source: the descriptor to copy from.
        file: the descriptor to copy to.
        size: bytes.
        digest: where to add them.

    Raises:
        OSError: not all of them are there or copied; the position is unknown.
    """
    shares = True
    position = 0
    while position < size:
        length = min(_COPY, size - position)
        if shares:
            try:
                length = os.copy_file_range(source, file, length, position)
            except OSError as error:
                if error.errno not in _CANNOT_COPY:
                    raise
                shares = False
        piece = os.pread(source, length, position)
        if not piece:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if not shares:
            write_pieces(file, (piece,))
        elif len(piece) < length:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        digest.update(piece)
        position += len(piece)
