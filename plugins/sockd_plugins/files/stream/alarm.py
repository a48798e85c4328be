"""Alarm for waits that nearly always end before their time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Alarm:
    """Timer that costs little to set: it runs on when it is cleared, and finds at its end how much is left.

    Args:
        clock: of the service.
        ring: called when the time is up.
    """

    def __init__(self, clock: IReactorTime, ring: Callable[[], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._until: float | None = None
        self._call: IDelayedCall | None = None

    def set(self, seconds: float) -> None:
        """Ring in so many seconds, instead of at the time that was set before."""
        self._until = self._clock.seconds() + seconds
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._look)
        elif self._call.getTime() > self._until:
            self._call.reset(seconds)

    def clear(self) -> None:
        """Do not ring."""
        self._until = None

    def stop(self) -> None:
        """End the timer."""
        self._until = None
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        self._call = None
        if self._until is None:
            return
        left = self._until - self._clock.seconds()
        if left > 0:
            self._call = self._clock.callLater(left, self._look)
        else:
            self._until = None
            self._ring()
