"""Pace of one client: its commands are answered at a rate, and read no faster."""

from __future__ import annotations

from collections.abc import Callable

COST = 4096
"""Bytes of an answer that cost as much as a command."""


class Pace:
    """Debt of a client, paid off with time. Nothing is refused: a client that is too fast waits.

    Args:
        rate: commands a second.
        burst: commands at once, after a quiet time.
        seconds: a monotonic clock.
    """

    __slots__ = ("_burst", "_debt", "_paid_at", "_rate", "_seconds")

    def __init__(self, rate: float, burst: int, seconds: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._seconds = seconds
        self._debt = 0.0
        self._paid_at = seconds()

    def count(self, size: int = 0) -> None:
        """Count a command.

        Args:
            size: bytes of its answer.
        """
        now = self._seconds()
        self._debt = max(0.0, self._debt - (now - self._paid_at) * self._rate) + 1 + size / COST
        self._paid_at = now

    def wait(self) -> float:
        """Return the seconds until the next command may be answered; 0 for at once."""
        left = self._debt - (self._seconds() - self._paid_at) * self._rate
        return max(0.0, (left - self._burst + 1) / self._rate)
