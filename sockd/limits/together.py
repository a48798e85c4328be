"""Places of one service that are counted over several processes, in memory that they share.

Each process has a seat, and writes only what it holds itself. So what a dead one held is known to the last
place, whatever it was doing when it was killed, and whoever survives it sets that to zero (`forget`).

A place near the limit is taken under a record lock (fcntl(2)), which the kernel releases when its holder
dies. Further away there is no lock: who first notes his place and then counts cannot be missed by those who
come after, so that one place for each seat is margin enough.

Sources have room for 65,536 entries in windows of 16. Where a window is full of other sources, one that wants
to come in is refused; that begins with tens of thousands of sources connected at once.

A seat's holder that is stopped within the lock keeps the others out; they refuse, and do not wait for it.
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
"""Entries among which one source is looked for."""

PATIENCE = 0.02
"""Seconds that a lock is waited for: its holder is done in microseconds, unless another has its core."""

_KEY = 16
_HEAD = struct.Struct("=II8x16s")  # seats, whether sources are counted, secret of the hash
_FLAG = slice(4, 8)
_MAPPED = bytes(10) + b"\xff\xff"
"""In front of an IPv4 source, which is then as long as one of IPv6 (RFC 4291, 2.5.5.2)."""


class Together:
    """The places of one service, seen from one seat, as long as somebody counts in them.

    Args:
        descriptor: of memory that `create` has made.
        seat: whose places are noted; nobody else may have it.
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
        """The descriptor of new memory for so many seats; what is never used of it takes no room."""
        descriptor = os.memfd_create("sockd places")
        os.ftruncate(descriptor, _HEAD.size + 4 * seats + SOURCES * (_KEY + 2 * seats))
        os.pwrite(descriptor, _HEAD.pack(seats, 0, os.urandom(16)), 0)
        return descriptor

    @property
    def total(self) -> int:
        """How many places all seats hold."""
        return sum(self._counts)

    def take(self, most: int, source: bytes | None = None, per_source: int | None = None) -> str | None:
        """Take one of `most` places, of which one source has so many: None, or the limit that is reached."""
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
        """Count a place that is held already for a source; False if it has as many as it may have."""
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

    def held(self, source: bytes) -> int:
        """How many places a source has."""
        entry = self._entries.get(source)
        if entry is None:
            entry, found = self._find(source)
            if not found:
                return 0
        return self._held_at(entry)

    def recount(self, sources: Mapping[bytes, int]) -> None:
        """Count these for the sources of this seat, in the place of what was counted."""
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
        """Take back everything that a seat holds, whose process is gone."""
        self._counts[seat] = 0
        if any(self._memory[_FLAG]):
            for first, end in self._used(seat):
                zeros = memoryview(bytes(2 * (end - first))).cast("H")
                self._held[first * self._seats + seat : end * self._seats : self._seats] = zeros

    def _used(self, seat: int) -> Iterator[tuple[int, int]]:
        """Ranges of entries in which a seat may hold something; to write elsewhere would only take room."""
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
        """Let go of the memory."""
        for view in (self._counts, self._keys, self._held):
            view.release()
        with suppress(BufferError):  # somebody counts still
            self._memory.close()
        self._close()

    def _count_source(self, source: bytes, most: int) -> bool:
        """Note one more place of a source; only under the lock."""
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
        """The entry of a source, or a free one for it, or -1; and whether it is there."""
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
