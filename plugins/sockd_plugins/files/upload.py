"""File being received: it appears under its name whole and durable, or not at all.

The data goes into a part (see `store.py`), for which room is taken as the data comes. `commit` makes it
durable, gives it its name without replacing a file, and makes the name durable too.

Every call here waits for the disk.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass

from sockd_plugins.files.refused import FileRefused, disk_errors
from sockd_plugins.files.store import Store

_STEP = 8 << 20
"""Bytes of room to take ahead of the data at most: some hundred calls for a gigabyte, and a bound for what a
stalled upload keeps from others. At the beginning as many as have come already."""


@dataclass(frozen=True, slots=True)
class Stored:
    """File on the disk; `name` may have a number that the sender did not give."""

    name: str
    size: int
    sha256: str


class Upload:
    """File being received; `close` must follow in every case, after `commit` too.

    Args:
        name: of the file, as `safe_name` returned it.
        size: bytes that will come; None if unknown.

    Raises:
        FileRefused: the file is larger than allowed, or than the room that is left.
    """

    def __init__(self, store: Store, name: str, size: int | None = None) -> None:
        if (size or 0) > store.max_size:
            raise FileRefused("too-large", f"expected at most {store.max_size} bytes, found {size}")
        self._store = store
        self._name = name
        self._expected = size
        self._size = 0
        self._taken = 0  # bytes that have room on the disk
        self._hash = hashlib.sha256()
        with disk_errors():
            self._part, self._file = store.create_part(size or 0)

    def write(self, data: bytes | bytearray) -> None:
        """Write the next bytes.

        Raises:
            FileRefused: there is no room for them, or the disk fails.
        """
        end = self._size + len(data)
        if end > self._store.max_size:
            raise FileRefused("too-large", f"expected at most {self._store.max_size} bytes, found more")
        self._hash.update(data)
        with disk_errors():
            if end <= self._taken or self._take_room(end):
                self._append(data)
            else:
                with self._store.room.booked(len(data)):
                    self._append(data)
        self._size = end

    def _take_room(self, end: int) -> bool:
        """Take room up to `end` and some more; return False if the file system cannot allocate."""
        ahead = end + min(_STEP, end)
        if self._expected is not None:
            ahead = max(end, min(ahead, self._expected))
        self._taken += self._store.room.take(self._file, self._taken, end - self._taken, ahead - self._taken)
        return end <= self._taken

    def _append(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def commit(self, sha256: str | None = None) -> Stored:
        """Give the file its name; when this returns, a power cut cannot remove it.

        Args:
            sha256: what the sender says the digest is.

        Raises:
            FileRefused: it is not what was announced, there is no name left for it, or the disk fails.
        """
        if self._expected not in (None, self._size):
            raise FileRefused("incomplete", f"expected {self._expected} bytes, found {self._size}")
        digest = self._hash.hexdigest()
        if sha256 not in (None, digest):
            raise FileRefused("digest-mismatch", f"expected sha256={sha256}, found sha256={digest}")
        with disk_errors():
            if self._taken > self._size:
                os.ftruncate(self._file, self._size)  # gives back what was taken beyond the end
            name = self._store.publish(self._part, self._file, self._name)
        return Stored(name, self._size, digest)

    def close(self) -> None:
        """Remove the part. A committed file has its name, and stays."""
        self._store.remove_part(self._part)
        with suppress(OSError):  # the data that counts was synchronized before
            os.close(self._file)
