"""Calls of the reactor: those of the next turn, those of a certain time, and those from other threads."""

from __future__ import annotations

import math
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import DelayedCall, ReactorBase
from twisted.logger import Logger
from typing_extensions import override

log = Logger()

EPOCH = time.time() - time.monotonic()
"""When the monotonic clock was at 0. Programs take what `seconds` tells for the time of day."""

AT_ONCE = 1e-6
"""Seconds of delay below which a call is one of the next turn: `seconds` tells no two such times apart."""


class Calls(AsyncioSelectorReactor):
    """Twisted's asyncio reactor, on which a call of the next turn costs no timer.

    Args:
        loop: of asyncio.
    """

    @staticmethod
    def seconds() -> float:
        """Since 1970, and never back: it knows nothing of corrections of the clock since the start."""
        return EPOCH + time.monotonic()

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._soon: list[DelayedCall] = []
        super().__init__(loop)

    @override
    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> DelayedCall:
        if not 0 <= delay < AT_ONCE:
            timed: DelayedCall = super().callLater(delay, callable, *args, **kw)
            return timed
        call = DelayedCall(self.seconds(), callable, args, kw, _forget, _forget, self.seconds)
        if not self._soon:
            self.loop.call_soon(self._run_soon)
        self._soon.append(call)
        return call

    @property
    def has_calls(self) -> bool:
        """Whether there are calls of the next turn."""
        return bool(self._soon or self.threadCallQueue)

    def _run_soon(self) -> None:
        """Make the calls that were due in 0 seconds; what they add is called in the next turn."""
        calls, timed = self._soon, self._pendingTimedCalls
        if not calls:  # `runUntilCurrent` was quicker
            return
        if timed and timed[0].time <= calls[-1].time:
            self.runUntilCurrent()
            return
        self._soon = []
        for call in calls:
            if call.cancelled:
                continue
            if call.delayed_time > 0:  # put off since
                self._queue(call)
                self._reschedule()
                continue
            call.called = 1
            run_logged(call.func, *call.args, **call.kw)

    def _queue(self, call: DelayedCall) -> None:
        """Let a call of the next turn be one of a certain time."""
        call.canceller, call.resetter = self._cancelCallLater, self._moveCallLaterSooner
        self._newTimedCalls.append(call)

    @override
    def runUntilCurrent(self) -> None:
        """Make every call that is due, in the order of their times."""
        calls, self._soon = self._soon, []
        last = 0.0
        for call in calls:
            if not call.cancelled:
                # The queue keeps no order among those of one time.
                last = call.time = max(call.time, math.nextafter(last, math.inf))
                self._queue(call)
        super().runUntilCurrent()
        if calls:  # one of them may be put off
            self._reschedule()

    @override
    def timeout(self) -> float | None:
        if self._soon:
            return 0
        seconds: float | None = super().timeout()
        return seconds

    @override
    def wakeUp(self) -> None:
        """Have the loop's thread make what was added by `callFromThread`."""
        self.loop.call_soon_threadsafe(self.runUntilCurrent)

    callFromThread = ReactorBase.callFromThread  # type: ignore[assignment]  # not asyncioreactor's

    @override
    def getDelayedCalls(self) -> list[Any]:
        return [*super().getDelayedCalls(), *(call for call in self._soon if not call.cancelled)]


def run_logged(function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Call it; what it raises is logged, as Twisted does with everything that it calls."""
    try:
        function(*args, **kwargs)
    except BaseException:  # application code may raise anything
        log.failure("while calling {function}", function=function)


def _forget(_: DelayedCall) -> None:
    """A call of the next turn has no place in the queue of the others."""
