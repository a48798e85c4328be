"""Calls of the reactor: in the next turn, at a time, and from other threads."""

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
"""Wall-clock time at which the monotonic clock was at 0. Programs take `seconds` for the time of day."""

AT_ONCE = 1e-6
"""Seconds of delay below which a call belongs to the next turn: `seconds` cannot tell two such times apart.
"""


class Calls(AsyncioSelectorReactor):
    """Twisted's asyncio reactor, on which a call of the next turn costs no timer.

    Args:
        loop: of asyncio.
    """

    @staticmethod
    def seconds() -> float:
        """Return the seconds since 1970. They never go back: corrections of the clock since the start are
        ignored.
        """
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
        """True if there are calls of the next turn."""
        return bool(self._soon or self.threadCallQueue)

    def _run_soon(self) -> None:
        """Make the calls of this turn; calls that they add wait for the next turn."""
        calls, timed = self._soon, self._pendingTimedCalls
        if not calls:  # `runUntilCurrent` has made them already
            return
        if timed and timed[0].time <= calls[-1].time:
            self.runUntilCurrent()
            return
        self._soon = []
        for call in calls:
            if call.cancelled:
                continue
            if call.delayed_time > 0:  # delayed since
                self._queue(call)
                self._reschedule()
                continue
            call.called = 1
            run_logged(call.func, *call.args, **call.kw)

    def _queue(self, call: DelayedCall) -> None:
        """Move a call of the next turn to the calls of a certain time."""
        call.canceller, call.resetter = self._cancelCallLater, self._moveCallLaterSooner
        self._newTimedCalls.append(call)

    @override
    def runUntilCurrent(self) -> None:
        """Make every call that is due, in the order of their times."""
        calls, self._soon = self._soon, []
        last = 0.0
        for call in calls:
            if not call.cancelled:
                # The queue keeps no order among calls of one time.
                last = call.time = max(call.time, math.nextafter(last, math.inf))
                self._queue(call)
        super().runUntilCurrent()
        if calls:  # one of them may be delayed
            self._reschedule()

    @override
    def timeout(self) -> float | None:
        if self._soon:
            return 0
        seconds: float | None = super().timeout()
        return seconds

    @override
    def wakeUp(self) -> None:
        """Let the loop's thread make the calls of `callFromThread`."""
        self.loop.call_soon_threadsafe(self.runUntilCurrent)

    callFromThread = ReactorBase.callFromThread  # type: ignore[assignment]  # not asyncioreactor's

    @override
    def getDelayedCalls(self) -> list[Any]:
        return [*super().getDelayedCalls(), *(call for call in self._soon if not call.cancelled)]


def run_logged(function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Call a function and log what it raises, as Twisted does with everything that it calls."""
    try:
        function(*args, **kwargs)
    except BaseException:  # application code may raise anything
        log.failure("while calling {function}", function=function)


def _forget(_: DelayedCall) -> None:
    """Do nothing: a call of the next turn is not in the queue of the others."""
