"""Token bucket: a rate with bursts."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Bucket that allows `rate` events a second, and up to `burst` at once after a quiet time.

    Args:
        rate: events a second.
        burst: events at once.
        seconds: a monotonic clock.
    """

    __slots__ = ("_burst", "_counted_at", "_left", "_rate", "_seconds")

    def __init__(self, rate: float, burst: int, seconds: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._seconds = seconds
        self._left: float = burst
        self._counted_at = seconds()

    def take(self) -> bool:
        """Take one token; return False if none is left."""
        now = self._seconds()
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._rate)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
