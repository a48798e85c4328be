"""Pace of a peer: how far its uploads are behind the rate that the service demands."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

PATIENCE = 300.0
"""Seconds for which a peer may be slower than `min_rate`, such as a phone in a tunnel."""

STALL = 60.0
"""Seconds that count of one wait for data at most: the idle timeout ends silent peers."""


class Pace:
    """Pace of one peer. Only time counts in which data is awaited.

    Args:
        clock: of the service.
        rate: bytes a second; 0 for no bound.

    Attributes:
        rate: as given.
    """

    def __init__(self, clock: IReactorTime, rate: int) -> None:
        self.rate = rate
        self._clock = clock
        self._patience = PATIENCE
        self._since: float | None = None  # time of the last byte, while more is awaited

    @property
    def too_slow(self) -> bool:
        """True if the peer is further behind than it may be."""
        return self._patience < 0

    def begin(self) -> None:
        """Begin a wait for data."""
        if self.rate:
            self._since = self._clock.seconds()

    def count(self, size: int) -> None:
        """Count bytes that came, and the time that they took if they were awaited."""
        if self._since is not None:
            now = self._clock.seconds()
            patience = self._patience - min(now - self._since, STALL) + size / self.rate
            self._patience = min(patience, PATIENCE)
            self._since = now

    def end(self) -> None:
        """End the wait."""
        self._since = None
