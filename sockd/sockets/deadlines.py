"""Deadlines of many connections on one timer."""

from __future__ import annotations

import heapq
from math import floor
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

TICK = 0.1
"""Seconds between two checks: a deadline fires at most this late. All deadlines of one tick share a timer."""

_NONE: set[Any] = set()
"""Shared set of each tick whose deadlines have all been cleared; a set for each would take 216 bytes."""


class Timed(Protocol):
    """Object with a deadline."""

    tick: int
    """Number of the tick of its deadline; 0 without one. Written by `Deadlines` alone."""

    def deadline_passed(self) -> None:
        """Act on the deadline; called once, at most a tick after it."""


class Deadlines:
    """Deadlines of many objects, without a timer for each.

    Setting, moving and clearing a deadline cost a set operation. A cleared object is released at once.

    Args:
        clock: its seconds should be monotonic: on a wall clock a step would fire or freeze every deadline.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[int, set[Timed]] = {}
        self._ticks: list[int] = []  # heap of the keys of _waiting
        self._timer: IDelayedCall | None = None
        self._swept = 0  # last tick whose deadlines have passed

    def set(self, timed: Timed, seconds: float) -> None:
        """Call `timed.deadline_passed` in `seconds`; replaces an earlier deadline."""
        self.clear(timed)
        tick = floor((self._clock.seconds() + seconds) / TICK) + 1
        # `_sweep` would not end its own tick. A timer that is early, if only by rounding, is before its tick.
        timed.tick = tick = tick if tick > self._swept else self._swept + 1
        waiting = self._waiting.get(tick)
        if waiting:
            waiting.add(timed)
            return
        self._waiting[tick] = {timed}
        if waiting is None:
            heapq.heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._wait()

    def clear(self, timed: Timed) -> None:
        """Forget the deadline of `timed`, if it has one."""
        if tick := timed.tick:
            waiting = self._waiting[tick]
            waiting.discard(timed)
            if not waiting:
                self._waiting[tick] = _NONE
            timed.tick = 0

    def _wait(self) -> None:
        """Set the timer for the earliest tick."""
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, self._ticks[0] * TICK - self._clock.seconds())
        self._timer = self._clock.callLater(delay, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        # A tick is due at its time, with a margin for the rounding of the division above.
        while self._ticks and self._ticks[0] * TICK <= now + TICK / 1000:
            self._swept = tick = heapq.heappop(self._ticks)
            waiting = self._waiting[tick]
            while waiting:
                timed = waiting.pop()
                timed.tick = 0
                timed.deadline_passed()
            del self._waiting[tick]
        if self._ticks:
            self._wait()
