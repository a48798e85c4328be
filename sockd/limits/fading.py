"""A bounded table of what fades with time."""

from __future__ import annotations

from collections import deque

CAPACITY = 65_536
"""Keys of one table: more than honest peers need at once; 8 MB of memory when forged ones fill it."""

SWEPT = 2
"""Keys looked at for each that is added: more than one, so that the table empties faster than it fills."""


class Fading:
    """A moment for each of many keys, which says nothing any more once it has passed.

    A key is forgotten only after its moment: nobody can push out what still counts by adding keys. Before
    one is added, the two that were looked at longest ago are looked at; while there is no room, none is.
    """

    __slots__ = ("_capacity", "_round", "moments")

    moments: dict[bytes, float]
    """By key. To change the moment of a key that is there needs no `set`."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self.moments = {}
        self._round: deque[bytes] = deque()  # the keys, in the order in which they are looked at

    def __len__(self) -> int:
        return len(self.moments)

    def set(self, key: bytes, moment: float, now: float) -> bool:
        """Keep `moment` for `key`; False if there was no room."""
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
