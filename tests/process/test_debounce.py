"""Many requests are few calls, and none is forgotten; time is made up."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from sockd.process.debounce import LONGEST, QUIET, Debounced


class Calls:
    """Notes when it is called, and ends when it is told to."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.at: list[float] = []
        self.ends: list[Deferred[None]] = []
        self.waits = False

    async def __call__(self) -> None:
        self.at.append(self.clock.seconds())
        if self.waits:
            self.ends.append(Deferred())
            await self.ends[-1]


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.advance(1000)
    return clock


@pytest.fixture
def calls(clock: Clock) -> Calls:
    return Calls(clock)


@pytest.fixture
def debounced(calls: Calls, clock: Clock) -> Debounced:
    return Debounced(calls, clock)


def test_a_single_request_is_carried_out_at_once(debounced: Debounced, calls: Calls, clock: Clock) -> None:
    for _ in range(10):
        debounced.ask()
        clock.advance(0)
        clock.advance(QUIET)
    assert len(calls.at) == 10


def test_a_crowd_is_few_calls_the_last_of_them_after_the_last_request(
    debounced: Debounced, calls: Calls, clock: Clock
) -> None:
    for _ in range(1000):
        debounced.ask()
        clock.advance(0.002)
    last = clock.seconds()
    clock.pump([QUIET / 2] * 10)
    assert len(calls.at) <= 4
    assert calls.at[-1] >= last - 0.002


def test_a_crowd_that_does_not_end_is_served_all_the_same(
    debounced: Debounced, calls: Calls, clock: Clock
) -> None:
    for _ in range(10_000):
        debounced.ask()
        clock.advance(QUIET / 5)
    seconds = 10_000 * QUIET / 5
    assert seconds / LONGEST - 2 <= len(calls.at) <= seconds / LONGEST + 2


def test_requests_that_come_meanwhile_are_one_after_the_end(
    debounced: Debounced, calls: Calls, clock: Clock
) -> None:
    calls.waits = True
    debounced.ask()
    clock.advance(0)
    for _ in range(100):
        debounced.ask()
        clock.advance(0.1)
    assert len(calls.at) == 1
    calls.waits = False
    calls.ends[0].callback(None)
    clock.pump([0.1] * 30)
    assert len(calls.at) == 2
    assert not clock.getDelayedCalls()


def test_a_call_that_fails_does_not_keep_the_next_one_from_being_made(clock: Clock) -> None:
    called = []

    async def failing() -> None:
        called.append(clock.seconds())
        raise ValueError("a fault of ours")

    debounced = Debounced(failing, clock)
    with capturedLogs() as events:
        for _ in range(2):
            debounced.ask()
            clock.advance(0)
            clock.advance(1)
    assert len(called) == 2
    assert [event["log_format"] for event in events] == ["request fault"] * 2
