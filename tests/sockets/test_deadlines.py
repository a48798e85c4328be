from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from sockd.sockets.deadlines import TICK, Deadlines


class Thing:
    def __init__(self, clock: Clock) -> None:
        self.tick = 0
        self.passed: list[float] = []
        self._clock = clock

    def deadline_passed(self) -> None:
        self.passed.append(self._clock.seconds())


def run(clock: Clock, seconds: float) -> None:
    clock.pump([TICK / 4] * round(seconds / (TICK / 4)))


def test_a_deadline_passes_once_and_at_most_a_tick_late() -> None:
    clock = Clock()
    deadlines, thing = Deadlines(clock), Thing(clock)
    deadlines.set(thing, 3.02)
    run(clock, 3.0)
    assert thing.passed == []
    run(clock, 10)
    assert len(thing.passed) == 1
    assert 3.02 <= thing.passed[0] <= 3.02 + 2 * TICK


def test_setting_it_again_moves_the_deadline_in_both_directions() -> None:
    clock = Clock()
    deadlines, sooner, later = Deadlines(clock), Thing(clock), Thing(clock)
    deadlines.set(sooner, 9)
    deadlines.set(later, 1)
    deadlines.set(sooner, 1)
    deadlines.set(later, 9)
    run(clock, 2)
    assert (len(sooner.passed), len(later.passed)) == (1, 0)
    run(clock, 8)
    assert (len(sooner.passed), len(later.passed)) == (1, 1)


def test_a_cleared_deadline_never_passes_and_is_not_kept() -> None:
    clock = Clock()
    deadlines, thing = Deadlines(clock), Thing(clock)
    deadlines.set(thing, 1)
    deadlines.clear(thing)
    deadlines.clear(thing)
    run(clock, 5)
    assert thing.passed == []
    assert thing.tick == 0


def test_many_things_of_one_tick_share_one_timer() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    things = [Thing(clock) for _ in range(1000)]
    for thing in things:
        deadlines.set(thing, 5)
    assert len(clock.getDelayedCalls()) == 1
    run(clock, 6)
    assert all(len(thing.passed) == 1 for thing in things)


def test_a_deadline_set_again_while_passing_waits_for_a_later_tick() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)

    class Restless(Thing):
        def deadline_passed(self) -> None:
            super().deadline_passed()
            deadlines.set(self, 0)

    thing = Restless(clock)
    deadlines.set(thing, 0)
    run(clock, 1)
    assert 5 <= len(thing.passed) <= 11


def test_one_that_clears_another_of_the_same_tick_is_obeyed() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    things: list[Thing] = []

    class Last(Thing):
        def deadline_passed(self) -> None:
            super().deadline_passed()
            for thing in things:
                deadlines.clear(thing)

    things += [Last(clock) for _ in range(5)]
    for thing in things:
        deadlines.set(thing, 1)
    run(clock, 3)
    assert sum(len(thing.passed) for thing in things) == 1


def test_nothing_is_left_on_the_clock_when_nothing_waits() -> None:
    clock = Clock()
    deadlines, thing = Deadlines(clock), Thing(clock)
    deadlines.set(thing, 1)
    run(clock, 2)
    assert clock.getDelayedCalls() == []


def test_cleared_deadlines_of_many_ticks_take_little_memory() -> None:
    clock, ticks = Clock(), 10_000
    deadlines, thing = Deadlines(clock), Thing(clock)
    tracemalloc.start()
    try:
        for tick in range(ticks):
            deadlines.set(thing, tick * TICK)
        deadlines.clear(thing)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / ticks < 150


def test_a_tick_whose_deadlines_were_cleared_takes_new_ones() -> None:
    clock = Clock()
    deadlines, first, second = Deadlines(clock), Thing(clock), Thing(clock)
    deadlines.set(first, 1)
    deadlines.clear(first)
    deadlines.set(second, 1)
    run(clock, 2)
    assert (len(first.passed), len(second.passed)) == (0, 1)
    assert clock.getDelayedCalls() == []


class Early(Clock):
    """Clock whose timers are early by a part of a millisecond, as rounding makes them."""

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002  # as Clock has it
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        return super().callLater(max(0.0, delay - TICK / 2000), callable, *args, **kw)


def test_a_deadline_that_is_set_anew_while_it_passes_waits_for_a_later_tick() -> None:
    clock = Early()
    deadlines = Deadlines(clock)

    class Again(Thing):
        def deadline_passed(self) -> None:
            super().deadline_passed()
            assert len(self.passed) < 9, "it passes again and again"
            deadlines.set(self, 1e-9)

    again = Again(clock)
    deadlines.set(again, 0.95)
    clock.advance(1 - TICK / 2000)
    assert len(again.passed) == 1
    clock.advance(1.2 * TICK)
    assert len(again.passed) == 2
