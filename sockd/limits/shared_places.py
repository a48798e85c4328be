"""Places of one service that several processes count together, in shared memory.

Each process has a seat, and writes only what it holds itself. So the places of a dead process are known
exactly, even if it was killed in the middle of a change, and a surviving process clears them (`forget`).

A place near the limit is taken under a record lock (fcntl(2)), which the kernel releases when its holder
dies. Further away no lock is needed: a process first notes its place and then counts, so that later ones
see it, and one place for each seat is margin enough.

Sources have 65,536 entries, in windows of 16. A source whose window is full of others is refused; that
begins with tens of thousands of sources connected at once.

A process that is stopped while it holds the lock keeps the others out; they refuse, and do not wait.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from math import ceil
from weakref import finalize

SOURCES = 65536
"""Entries for sources."""

WINDOW = 16
"""Entries that may hold one source."""

PATIENCE = 0.02
"""Seconds to wait for the lock: its holder needs microseconds, unless another process has its core."""

_KEY = 16
_HEAD = struct.Struct("=II8x16s")  # seats, whether sources are counted, secret of the hash
_FLAG = slice(4, 8)
_MAPPED = bytes(10) + b"\xff\xff"
"""Prefix of an IPv4 source, which makes it as long as one of IPv6 (RFC 4291, 2.5.5.2)."""


class SharedPlaces:
    """Places of one service, as one seat sees them.

    Args:
        descriptor: of memory that `create` has made.
        seat: the seat whose places this process counts; no other process may have it.
    """

    __slots__ = (
        "__weakref__",
        "_close",
        "_counts",
        "_entries",
        "_held",
        "_keys",
        "_memory",
        "_seat",
        "_seats",
        "_secret",
        "descriptor",
    )

    def __init__(self, descriptor: int, seat: int) -> None:
        self.descriptor = descriptor
        self._close = finalize(self, os.close, descriptor)
        self._memory = mmap.mmap(descriptor, 0)
        self._seat = seat
        self._seats, _, self._secret = _HEAD.unpack_from(self._memory)
        view = memoryview(self._memory)
        keys = _HEAD.size + 4 * self._seats
        held = keys + _KEY * SOURCES
        self._counts = view[_HEAD.size : keys].cast("I")
        self._keys = view[keys:held]
        self._held = view[held:].cast("H")  # of each source, by seat
        self._entries: dict[bytes, int] = {}

    @staticmethod
    def create(seats: int) -> int:
        """Return the descriptor of new memory for a number of seats. Unused parts of it take no room."""
        descriptor = os.memfd_create("sockd places")
        os.ftruncate(descriptor, _HEAD.size + 4 * seats + SOURCES * (_KEY + 2 * seats))
        os.pwrite(descriptor, _HEAD.pack(seats, 0, os.urandom(16)), 0)
        return descriptor

    @property
    def total(self) -> int:
        """Number of places that all seats hold."""
        return sum(self._counts)

    def take(self, most: int, source: bytes | None = None, per_source: int | None = None) -> str | None:
        """Take one of `most` places, of which a source may have `per_source`; return None, or the limit that
        is reached.
        """
        counts, seat = self._counts, self._seat
        if source is None or per_source is None:
            if sum(counts) < most - 2 * self._seats:
                counts[seat] += 1
                if sum(counts) <= most - self._seats:
                    return None
                counts[seat] -= 1
            source = None
        if not self._lock():
            return "max_connections"
        try:
            if sum(counts) >= most:
                return "max_connections"
            if source is not None and per_source is not None and not self._count_source(source, per_source):
                return "max_per_source"
            counts[seat] += 1
            return None
        finally:
            self._unlock()

    def identify(self, source: bytes, per_source: int) -> bool:
        """Count a place that is held already for a source; return False if the source may have no more."""
        if not self._lock():
            return False
        try:
            return self._count_source(source, per_source)
        finally:
            self._unlock()

    def give(self, source: bytes | None = None) -> None:
        """Give a place back, and that of its source if it was counted for one."""
        self._counts[self._seat] -= 1
        entry = None if source is None else self._entries.get(source)
        if source is not None and entry is not None:
            mine = entry * self._seats + self._seat
            self._held[mine] -= 1
            if not self._held[mine]:
                del self._entries[source]

    def count(self, source: bytes) -> int:
        """Return the number of places of a source."""
        entry = self._entries.get(source)
        if entry is None:
            entry, found = self._find(source)
            if not found:
                return 0
        return self._held_at(entry)

    def recount(self, sources: Mapping[bytes, int]) -> None:
        """Replace the counts of this seat for sources by these."""
        for entry in self._entries.values():
            self._held[entry * self._seats + self._seat] = 0
        self._entries.clear()
        if sources and self._lock():
            try:
                for source, count in sources.items():
                    for _ in range(count):
                        self._count_source(source, 2**16 - 1)
            finally:
                self._unlock()

    def forget(self, seat: int) -> None:
        """Clear the places of a seat whose process is gone."""
        self._counts[seat] = 0
        if any(self._memory[_FLAG]):
            for first, end in self._used(seat):
                zeros = memoryview(bytes(2 * (end - first))).cast("H")
                self._held[first * self._seats + seat : end * self._seats : self._seats] = zeros

    def _used(self, seat: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of entries in which a seat may hold a place; writes to other ranges would only
        take memory.
        """
        start = len(self._memory) - 2 * len(self._held)
        hole = start
        with suppress(OSError):  # no more data
            while True:
                data = os.lseek(self.descriptor, hole, os.SEEK_DATA)
                hole = os.lseek(self.descriptor, data, os.SEEK_HOLE)
                first, end = (ceil(((at - start) // 2 - seat) / self._seats) for at in (data, hole))
                if first < end:
                    yield first, end

    def close(self) -> None:
        """Release the memory."""
        for view in (self._counts, self._keys, self._held):
            view.release()
        with suppress(BufferError):  # a view is still in use
            self._memory.close()
        self._close()

    def _count_source(self, source: bytes, most: int) -> bool:
        """Count one more place of a source; to be called under the lock."""
        entry = self._entries.get(source)
        if entry is None:
            entry, found = self._find(source)
            if entry < 0:
                return False
            if not found:
                self._keys[entry * _KEY : (entry + 1) * _KEY] = _whole(source)
        if self._held_at(entry) >= most:
            return False
        self._memory[_FLAG] = b"used"
        self._entries[source] = entry
        self._held[entry * self._seats + self._seat] += 1
        return True

    def _find(self, source: bytes) -> tuple[int, bool]:
        """Return the entry of a source, or a free one, or -1; and whether the source has it already."""
        key = _whole(source)
        digest = blake2b(key, digest_size=4, key=self._secret).digest()
        first = int.from_bytes(digest) % (SOURCES // WINDOW) * WINDOW
        free = -1
        for entry in range(first, first + WINDOW):
            if not self._held_at(entry):
                free = entry if free < 0 else free
            elif self._keys[entry * _KEY : (entry + 1) * _KEY] == key:
                return entry, True
        return free, False

    def _held_at(self, entry: int) -> int:
        return sum(self._held[entry * self._seats : (entry + 1) * self._seats])

    def _lock(self) -> bool:
        until = 0.0
        while True:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
            except OSError:  # another seat has it
                now = time.monotonic()
                until = until or now + PATIENCE
                if now > until:
                    return False
                os.sched_yield()
            else:
                return True

    def _unlock(self) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1)


def _whole(source: bytes) -> bytes:
    return source if len(source) == _KEY else _MAPPED + source
