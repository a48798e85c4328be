"""A file on its way to the disk: it appears under its name whole and durable, or not at all.

What arrives goes into a part (see `store.py`), for which room is taken as the data comes. `commit` makes it
durable, gives it its name without replacing anything, and makes that durable too.

Everything here waits for the disk.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass

from sockd_plugins.files.refused import Refused, disk_errors
from sockd_plugins.files.store import Store

_STEP = 8 << 20
"""Bytes of room to take ahead of the data at most: some hundred calls for a gigabyte, and what an upload
that stalls keeps from others is bounded. Before, as many as have come already."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What has become of a file that is on the disk; `name` may carry a number that it was not sent with."""

    name: str
    size: int
    sha256: str


class Upload:
    """One file being received; `close` must follow in every case, after `commit` too.

    Args:
        name: what it is to be called, as `safe_name` returned it.
        size: how many bytes will come; None if nobody knows yet.

    Raises:
        Refused: it is larger than may be, or than there is room for.
    """

    def __init__(self, store: Store, name: str, size: int | None = None) -> None:
        if (size or 0) > store.max_size:
            raise Refused("too-large", f"expected at most {store.max_size} bytes, found {size}")
        self._store = store
        self._name = name
        self._expected = size
        self._size = 0
        self._taken = 0  # bytes that have room on the disk
        self._hash = hashlib.sha256()
        with disk_errors():
            self._part, self._file = store.create_part(size or 0)

    def write(self, data: bytes | bytearray) -> None:
        """Take the next bytes.

        Raises:
            Refused: there is no room for them, or the disk fails.
        """
        end = self._size + len(data)
        if end > self._store.max_size:
            raise Refused("too-large", f"expected at most {self._store.max_size} bytes, found more")
        self._hash.update(data)
        with disk_errors():
            if end <= self._taken or self._take_room(end):
                self._append(data)
            else:
                with self._store.room.booked(len(data)):
                    self._append(data)
        self._size = end

    def _take_room(self, end: int) -> bool:
        """Have room up to `end`, and for some of what follows; False if room cannot be had in advance."""
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
        """Give the file its name; when this returns, no power cut can take it away.

        Args:
            sha256: what the sender says the digest is.

        Raises:
            Refused: it is not what was announced, there is no name left for it, or the disk fails.
        """
        if self._expected not in (None, self._size):
            raise Refused("incomplete", f"expected {self._expected} bytes, found {self._size}")
        digest = self._hash.hexdigest()
        if sha256 not in (None, digest):
            raise Refused("digest-mismatch", f"expected sha256={sha256}, found sha256={digest}")
        with disk_errors():
            if self._taken > self._size:
                os.ftruncate(self._file, self._size)  # gives back what was taken beyond the end
            name = self._store.publish(self._part, self._file, self._name)
        return Stored(name, self._size, digest)

    def close(self) -> None:
        """Remove the part. A file that was committed has its name, and stays."""
        self._store.remove_part(self._part)
        with suppress(OSError):  # what matters was synchronized before
            os.close(self._file)
