"""A plugin's start has a deadline, whatever it does; time is made up, but for what blocks."""

from __future__ import annotations

import asyncio
import inspect
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sockd.serving import plugin_start as starting

WITHIN = 30.0
LONG = 3600.0
SOON = 0.05


class Outcome:
    """What becomes of a start."""

    def __init__(self, start: Callable[[], Any], blocking: float = WITHIN) -> None:
        self.clock = Clock()
        self.results: list[Any] = []
        self.starts = starting.Starts(self.clock)
        Deferred.fromCoroutine(self.starts.run(start, WITHIN, blocking)).addBoth(self.results.append)

    @property
    def error(self) -> BaseException:
        [failure] = self.results
        assert isinstance(failure, Failure)
        assert failure.value is not None
        return failure.value

    def late(self) -> str:
        """What is told at the deadline."""
        self.clock.advance(WITHIN - 0.001)
        assert not self.results
        self.clock.advance(0.001)
        assert isinstance(self.error, starting.Unfinished)
        return str(self.error)


def line_of(function: Callable[..., object], text: str) -> int:
    """The number of a line of a function."""
    lines, first = inspect.getsourcelines(function)
    return first + next(index for index, line in enumerate(lines) if text in line)


async def waits_for(deferred: Deferred[None]) -> None:
    await deferred  # for ever


async def waits() -> None:
    await waits_for(Deferred())


async def waits_elsewhere() -> None:
    await Deferred.fromCoroutine(waits())


def chained() -> Deferred[None]:
    first: Deferred[None] = Deferred()
    first.addCallback(lambda _: Deferred.fromCoroutine(waits()))
    first.callback(None)
    return first


@pytest.mark.parametrize("start", [waits, waits_elsewhere, chained])
def test_a_start_that_waits_is_told_with_the_line_that_it_waits_at(start: Callable[[], Any]) -> None:
    told = Outcome(start).late()
    assert f"{__file__}:{line_of(waits_for, 'for ever')} in waits_for" in told
    assert "has not finished within 30 s" in told


def test_a_start_of_generators_is_told_with_its_line() -> None:
    @inlineCallbacks  # as plugins of others have it
    def start() -> Any:
        yield Deferred()  # for ever

    assert f"{__file__}:{line_of(start.__wrapped__, 'for ever')} in start" in Outcome(start).late()  # type: ignore[attr-defined]


def test_where_nothing_but_a_deferred_is_known_the_line_of_start_is_told() -> None:
    def start() -> Deferred[None]:
        return Deferred()

    assert f"{__file__}:{line_of(start, 'def start')} in start" in Outcome(start).late()


def test_a_start_that_is_given_up_tells_the_reason_and_where_it_waits() -> None:
    outcome = Outcome(waits)
    outcome.starts.give_up("the file has changed")
    assert isinstance(outcome.error, starting.Unfinished)
    assert str(outcome.error).startswith("the file has changed: ")
    assert str(outcome.error).endswith("in waits_for")
    outcome.clock.advance(WITHIN)
    assert len(outcome.results) == 1


def test_what_a_late_start_waits_for_is_cancelled_so_that_it_can_tidy_up() -> None:
    tidied: list[str] = []

    async def start() -> None:
        try:
            await Deferred()
        finally:
            tidied.append("closed")

    Outcome(start).late()
    assert tidied == ["closed"]


def test_a_late_start_that_will_not_be_cancelled_is_not_waited_for_and_never_goes_on() -> None:
    went_on: list[str] = []
    second: Deferred[None] = Deferred()

    async def start() -> None:
        try:
            await Deferred()
        except CancelledError:
            await second
        went_on.append("on")

    Outcome(start).late()
    second.callback(None)
    assert went_on == []


def test_a_start_in_time_leaves_no_timer() -> None:
    ready: Deferred[None] = Deferred()
    outcome = Outcome(lambda: ready)
    ready.callback(None)
    assert outcome.results == [None]
    assert not outcome.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "start", [lambda: None, lambda: Deferred.fromCoroutine(nothing()), lambda: nothing()]
)
def test_a_start_may_finish_at_once(start: Callable[[], Awaitable[None] | None]) -> None:
    assert Outcome(start).results == [None]


async def nothing() -> None:
    """Ready."""


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(5), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]
)
@pytest.mark.parametrize("later", [False, True])
def test_whatever_a_start_raises_comes_out_of_it(error: BaseException, later: bool) -> None:
    async def start() -> None:
        raise error

    def at_once() -> None:
        raise error

    assert Outcome(start if later else at_once).error is error


def test_a_start_that_blocks_is_interrupted_and_told_with_its_line() -> None:
    def start() -> None:
        time.sleep(LONG)  # blocks

    error = Outcome(start, SOON).error
    assert isinstance(error, starting.Unfinished)
    assert f"{__file__}:{line_of(start, 'blocks')} in start" in str(error)


def test_a_start_that_loops_is_interrupted_although_it_catches_exceptions() -> None:
    def start() -> None:
        while True:
            with suppress(Exception):  # as careless authors do
                sum(range(1000))

    assert isinstance(Outcome(start, SOON).error, starting.Unfinished)


def test_a_start_that_blocks_after_it_has_waited_is_interrupted_too() -> None:
    ready: Deferred[str] = Deferred()

    async def start() -> None:
        assert await ready == "given"
        time.sleep(LONG)  # blocks

    outcome = Outcome(start, SOON)
    assert not outcome.results
    ready.callback("given")
    assert f":{line_of(start, 'blocks')} in start" in str(outcome.error)


def test_no_alarm_is_left_and_that_of_a_process_that_ends_is_not_touched() -> None:
    Outcome(waits)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    signal.setitimer(signal.ITIMER_REAL, LONG)
    try:
        Outcome(waits)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
