"""How often something may happen."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """Lets things happen `rate` times a second, and up to `burst` times at once after a quiet time."""

    __slots__ = ("_burst", "_counted_at", "_left", "_rate", "_seconds")

    def __init__(self, rate: float, burst: int, seconds: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._seconds = seconds
        self._left: float = burst
        self._counted_at = seconds()

    def allows_one(self) -> bool:
        """Whether it may happen now; if so, it is counted."""
        now = self._seconds()
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._rate)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
