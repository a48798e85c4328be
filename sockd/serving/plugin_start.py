"""A plugin's start under its deadline, and the place where one hangs.

A start that waits is cancelled at the deadline. One that blocks in a system call or in a loop is interrupted
by SIGALRM, whose handler raises where the plugin is (setitimer(2), signal(7)). Code in C that returns to the
interpreter only at its end is beyond both.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from inspect import isawaitable
from types import FrameType, TracebackType
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from sockd.telemetry.watchdog import place_of

BLOCKED_AT_RELOAD = 5.0
"""Seconds for which a start may keep the reactor from the peers that are served meanwhile."""

AGAIN = 1.0
"""Seconds until a plugin that has caught the interruption is interrupted again."""

Start = Callable[[], Awaitable[None] | None]


class Unfinished(Exception):
    """A start has not finished in time. Says where it hangs."""


class Interrupted(BaseException):
    """Raised in a plugin that blocks; no `except Exception` of the plugin catches it."""


class Starts:
    """Starts of plugins, each under a deadline.

    Args:
        clock: of the reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: set[_Deadline] = set()

    async def run(self, start: Start, within: float, blocking: float) -> None:
        """Let a plugin start.

        Args:
            start: begins the start.
            within: seconds for the start.
            blocking: seconds for which one step may block the reactor.

        Raises:
            Unfinished: the time is over, or `give_up` was called; what the start waited for is cancelled.
            BaseException: whatever the plugin raises.
        """
        try:
            with _alarm(blocking):
                result = start()
            if not isawaitable(result):
                return
            deadline = _Deadline(result, _begins_at(start), within, blocking, self._clock)
            self._waiting.add(deadline)
            try:
                await deadline.ended
            finally:
                self._waiting.discard(deadline)
        except Interrupted as error:
            raise Unfinished(
                f"it blocks everything else for {blocking:g} s{_at(_place(error.__traceback__))}"
            ) from error

    def give_up(self, reason: str) -> None:
        """End every start that waits, as if its deadline had come."""
        for deadline in tuple(self._waiting):
            deadline.give_up(reason)


class _Deadline:
    """Cancels what is awaited when the time is over.

    Args:
        awaited: what `start` gave.
        begun_at: the line of `start`, where nothing else can be told.
        within: seconds.
        blocking: seconds for one step.
        clock: of the reactor.

    Attributes:
        ended: fires with the end of the start, at the deadline at the latest.
    """

    def __init__(
        self,
        awaited: Awaitable[None],
        begun_at: str,
        within: float,
        blocking: float,
        clock: IReactorTime,
    ) -> None:
        self.ended: Deferred[None] = Deferred()
        self._awaited = awaited
        self._late = self._over = False
        self._place = begun_at
        late = f"it has not finished within {within:g} s"
        self._timer: IDelayedCall = clock.callLater(within, self._cancel, late)
        self._steps = _finish(_Steps(awaited, blocking))
        self._starting = Deferred.fromCoroutine(self._steps)
        self._starting.addBoth(self._finished)

    def _finished(self, result: Any) -> None:
        """Pass the result on; after the deadline it only tells where the plugin was."""
        self._over = True
        if self._late:
            if isinstance(result, Failure):
                self._place = _place(result.getTracebackObject()) or self._place
            return
        self._timer.cancel()
        self.ended.callback(result)

    def give_up(self, reason: str) -> None:
        """Cancel what is awaited before the time is over."""
        self._timer.cancel()
        self._cancel(reason)

    def _cancel(self, reason: str) -> None:
        self._late = True
        self._place = _suspended_at(self._awaited) or self._place
        self._starting.cancel()
        if not self._over:
            with suppress(BaseException):  # a plugin that has caught the cancellation may raise anything
                self._steps.close()
        self.ended.errback(Unfinished(f"{reason}{_at(self._place)}"))


async def _finish(steps: Awaitable[None]) -> None:
    await steps


class _Steps:
    """The steps of an awaitable, each of which may block for so many seconds."""

    def __init__(self, awaitable: Awaitable[None], blocking: float) -> None:
        self._awaitable = awaitable
        self._blocking = blocking

    def __await__(self) -> Generator[Any, Any, None]:
        # Delegation as PEP 380 has it, with an alarm around each step.
        steps: Any = self._awaitable.__await__()
        step: Callable[[], Any] = partial(next, steps)
        while True:
            try:
                with _alarm(self._blocking):
                    given = step()
            except StopIteration:
                return
            try:
                sent = yield given
                step = partial(next, steps) if sent is None else partial(steps.send, sent)
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:  # passed on to what is delegated to
                step = partial(steps.throw, error)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Interrupt what blocks for longer, unless the process has an alarm already, as when it ends."""
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGALRM) is _interrupt:  # the end of the process has not begun meanwhile
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  # as signal calls it
    raise Interrupted


def _place(traceback: TracebackType | None) -> str:
    """The innermost line of a plugin in a traceback; empty if there is none."""
    place = ""
    while traceback is not None:
        place = place_of(traceback.tb_frame, traceback.tb_lineno) or place
        traceback = traceback.tb_next
    return place


def _suspended_at(awaited: Any) -> str:
    """The innermost line of a plugin at which a coroutine waits; empty if there is none."""
    place = ""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            place = place_of(frame, frame.f_lineno) or place
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return place


def _begins_at(start: Start) -> str:
    """The line of a function; empty for one that is not written in Python."""
    code = getattr(getattr(start, "func", start), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno} in {code.co_name}" if code is not None else ""


def _at(place: str) -> str:
    return f": {place}" if place else ""
