"""Data of a file to send: from a regular file, or from a pipe, whose end is not known."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections import deque
from typing import Protocol

from sockd.cli.send import digests
from sockd.cli.send.digests import Digest
from sockd.text import describe_os_error

BATCH = 1 << 18
"""Bytes to read, hash and send at a time; they stay in the processor's cache."""

_MOST_RETAINED = 64 << 20
"""Bytes of a pipe that are kept until the server has them on its disk, so that a broken connection loses
none."""

_STDIN = 0


class Unreadable(Exception):
    """Failure to read a file; the text tells why."""


class Changed(Unreadable):
    """Change of a file while it was sent."""

    def __init__(self) -> None:
        super().__init__("the file changed while it was sent")


class Source(Protocol):
    """Data of one file."""

    size: int | None

    def rewind(self, offset: int, algorithm: str) -> Digest:
        """Go to an offset; return the digest of the bytes before it.

        Raises:
            Unreadable: they cannot be read again.
        """

    def read(self) -> bytes | memoryview:
        """Return the next bytes, at most a batch; none at the end.

        Raises:
            Unreadable: the file fails, or has become shorter.
        """

    def retained(self) -> bool:
        """Tell whether nothing more can be read until the server has some bytes on its disk."""

    def forget(self, durable: int) -> None:
        """Note that the bytes before an offset are not needed again."""

    def check(self) -> None:
        """Check that the file is as it was at the beginning.

        Raises:
            Changed: it is not.
        """

    def close(self) -> None:
        """Close the file."""


def open_source(path: str, *, spooled: bool = False) -> Source:
    """Open a file, a pipe, or `-` for standard input.

    Args:
        path: of the file.
        spooled: whether a pipe is read to its end first, for a server that has to know the size.

    Raises:
        Unreadable: it cannot be opened.
    """
    try:
        file = os.dup(_STDIN) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(describe_os_error(error)) from None
    mode = os.fstat(file).st_mode
    if stat.S_ISDIR(mode):
        os.close(file)
        raise Unreadable("is a directory")
    if not stat.S_ISREG(mode) and spooled:
        file = _spooled(file)
    return RegularFile(file) if spooled or stat.S_ISREG(mode) else Pipe(file)


def _spooled(file: int) -> int:
    """Copy a pipe to a file without a name, and close it; return the descriptor of the copy."""
    try:
        with open(file, "rb") as pipe, tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(pipe, copy)
            copy.seek(0)
            return os.dup(copy.fileno())
    except OSError as error:
        raise Unreadable(describe_os_error(error)) from None


class RegularFile:
    """Data of a regular file, from where its descriptor stands.

    Args:
        file: the descriptor, which belongs to this object.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._began = os.fstat(file)
        self._start = os.lseek(file, 0, os.SEEK_CUR)
        self._all = self._left = max(self._began.st_size - self._start, 0)
        self.size: int | None = self._all
        self._buffer = memoryview(bytearray(min(self._all, BATCH)))

    def rewind(self, offset: int, algorithm: str) -> Digest:
        """Implement `Source.rewind`."""
        if offset > self._all:
            raise Changed
        os.lseek(self._file, self._start, os.SEEK_SET)
        self._left = self._all
        digest = digests.new(algorithm)
        while (before := offset - (self._all - self._left)) > 0:
            digest.update(self._read(before))
        return digest

    def read(self) -> memoryview:
        """Implement `Source.read`."""
        return self._read(BATCH)

    def retained(self) -> bool:
        """Implement `Source.retained`."""
        return False

    def forget(self, durable: int) -> None:
        """Implement `Source.forget`."""

    def check(self) -> None:
        """Implement `Source.check`."""
        now = os.fstat(self._file)
        if (now.st_size, now.st_mtime_ns) != (self._began.st_size, self._began.st_mtime_ns):
            raise Changed

    def close(self) -> None:
        """Implement `Source.close`."""
        os.close(self._file)

    def _read(self, most: int) -> memoryview:
        wanted = min(most, self._left, BATCH)
        if not wanted:
            return self._buffer[:0]
        try:
            count = os.readv(self._file, [self._buffer[:wanted]])
        except OSError as error:
            raise Unreadable(describe_os_error(error)) from None
        if not count:
            raise Changed
        self._left -= count
        return self._buffer[:count]


class Pipe:
    """Data of a pipe, of which the end is kept that the server does not have on its disk.

    Args:
        file: the descriptor, which belongs to this object.
    """

    def __init__(self, file: int) -> None:
        self.size: int | None = None
        self._file = file
        self._pieces: deque[bytes] = deque()
        self._forgotten = 0  # bytes before the pieces
        self._length = 0  # of the pieces
        self._next = 0  # index of the piece to return next
        self._digest: tuple[str, Digest] | None = None  # algorithm and digest of what is forgotten

    def rewind(self, offset: int, algorithm: str) -> Digest:
        """Implement `Source.rewind`."""
        if self._digest is None:
            self._digest = algorithm, digests.new(algorithm)
        self.forget(offset)
        known, digest = self._digest
        if offset != self._forgotten or known != algorithm:
            raise Unreadable("the server has lost data that cannot be read from a pipe again")
        self._next = 0
        return digest.copy()

    def read(self) -> bytes:
        """Implement `Source.read`."""
        if self._next < len(self._pieces):
            self._next += 1
            return self._pieces[self._next - 1]
        try:
            piece = os.read(self._file, BATCH)
        except OSError as error:
            raise Unreadable(describe_os_error(error)) from None
        if piece:
            self._pieces.append(piece)
            self._length += len(piece)
            self._next += 1
        return piece

    def retained(self) -> bool:
        """Implement `Source.retained`."""
        return self._length >= _MOST_RETAINED

    def forget(self, durable: int) -> None:
        """Implement `Source.forget`."""
        if self._digest is None or durable > self._forgotten + self._length:
            return
        while durable > self._forgotten:
            piece = self._pieces.popleft()
            gone = min(len(piece), durable - self._forgotten)
            self._digest[1].update(piece[:gone])
            self._forgotten += gone
            self._length -= gone
            if gone < len(piece):
                self._pieces.appendleft(piece[gone:])
            else:
                self._next -= self._next > 0

    def check(self) -> None:
        """Implement `Source.check`."""

    def close(self) -> None:
        """Implement `Source.close`."""
        os.close(self._file)
