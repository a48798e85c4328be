"""Bounded tables whose entries expire."""

from __future__ import annotations

from collections import deque

CAPACITY = 65_536
"""Keys of one table: more than honest peers need at once; 8 MB of memory when forged ones fill it."""

SWEPT = 2
"""Keys that are checked for each one that is added: more than one, so that a table empties faster than it
fills."""


class Expiring:
    """Table of a moment for each key. An entry has no meaning after its moment.

    A key is removed only after its moment, so nobody can displace an entry by adding keys. Before a key is
    added, the two that were checked longest ago are checked. A full table takes no new key.
    """

    __slots__ = ("_capacity", "_round", "moments")

    moments: dict[bytes, float]
    """Moments by key. To change the moment of a known key needs no `set`."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self.moments = {}
        self._round: deque[bytes] = deque()  # keys, in the order of their checks

    def __len__(self) -> int:
        return len(self.moments)

    def set(self, key: bytes, moment: float, now: float) -> bool:
        """Set the moment of a key; return False if there was no room for it."""
        if key not in self.moments:
            for _ in range(min(SWEPT, len(self._round))):
                oldest = self._round.popleft()
                if self.moments[oldest] > now:
                    self._round.append(oldest)
                else:
                    del self.moments[oldest]
            if len(self.moments) >= self._capacity:
                return False
            self._round.append(key)
        self.moments[key] = moment
        return True
