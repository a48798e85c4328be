"""Large buffers that the fastest uploads are read into, and written from without a copy."""

from __future__ import annotations

import ctypes
import weakref
from threading import RLock

from sockd_plugins.files.storage.aligned import aligned_memory
from sockd_plugins.files.storage.incoming import MOST_WINDOW

SIZE = MOST_WINDOW
"""Bytes of a buffer."""

_Memory = ctypes.Array[ctypes.c_char]


class Pool:
    """Buffers of one service. One that nothing refers to any more can be taken again.

    Args:
        most: bytes of all of them together.

    Attributes:
        size: bytes of all of them, when all are in use.
    """

    def __init__(self, most: int) -> None:
        self._free = most // SIZE
        self.size = self._free * SIZE
        self._users = 0
        self._idle: list[_Memory] = []
        self._lock = RLock()  # a thread may have the last view

    def enter(self) -> None:
        """Count a user, who will take buffer after buffer: they are kept meanwhile."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """Count a user less."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._idle.clear()

    def take(self) -> memoryview | None:
        """Take a buffer; None if all are in use. It comes back when there is no view of it any more."""
        with self._lock:
            if not self._free:
                return None
            memory = self._idle.pop() if self._idle else aligned_memory(SIZE)
            self._free -= 1
        lent = (ctypes.c_char * SIZE).from_buffer(memory)
        weakref.finalize(lent, self._give_back, memory).atexit = False
        return memoryview(lent).cast("B")

    def _give_back(self, memory: _Memory) -> None:
        """Keep a buffer, as long as there are users."""
        with self._lock:
            self._free += 1
            if self._users:
                self._idle.append(memory)
