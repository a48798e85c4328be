from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from sockd.config.written import Rate
from sockd.stream.handshakes import BUDGET, Handshakes
from tests.memory import turn


class Newcomer:
    """Peer whose handshake takes time."""

    def __init__(self, clock: Clock, takes: float = 0.0005) -> None:
        self._clock = clock
        self._takes = takes
        self.shaken = False

    def shake(self) -> None:
        self.shaken = True
        self._clock.rightNow += self._takes


@pytest.fixture
def clock() -> Clock:
    return Clock()


def crowd(clock: Clock, handshakes: Handshakes, size: int) -> list[Newcomer]:
    newcomers = [Newcomer(clock) for _ in range(size)]
    for newcomer in newcomers:
        handshakes.join(newcomer)
    return newcomers


def shaken(newcomers: list[Newcomer]) -> int:
    return sum(newcomer.shaken for newcomer in newcomers)


def test_one_alone_does_not_wait(clock: Clock) -> None:
    handshakes = Handshakes(clock, None)
    assert shaken(crowd(clock, handshakes, 1)) == 1


def test_a_crowd_takes_no_more_of_a_turn_than_its_budget(clock: Clock) -> None:
    """Other peers are served meanwhile."""
    handshakes = Handshakes(clock, None)
    newcomers = crowd(clock, handshakes, 100)
    turns = 0
    while shaken(newcomers) < 100:
        before = clock.seconds()
        turn(clock)
        assert clock.seconds() - before <= BUDGET + 0.0005
        turns += 1
        assert turns <= 100
    turn(clock)
    assert not clock.getDelayedCalls()


def test_they_begin_in_the_order_of_coming(clock: Clock) -> None:
    handshakes = Handshakes(clock, Rate(1, 1.0))
    newcomers = crowd(clock, handshakes, 5)
    for number in range(5):
        assert [newcomer.shaken for newcomer in newcomers] == [True] * (number + 1) + [False] * (4 - number)
        clock.advance(1.01)


def test_a_rate_lets_its_number_begin_at_once_and_the_others_as_time_passes(clock: Clock) -> None:
    handshakes = Handshakes(clock, Rate(10, 1.0))
    newcomers = crowd(clock, handshakes, 40)
    for _ in range(5):
        turn(clock)
    assert shaken(newcomers) == 10
    clock.pump([0.01] * 102)
    assert 19 <= shaken(newcomers) <= 21
    clock.pump([0.01] * 400)
    assert shaken(newcomers) == 40
    assert not clock.getDelayedCalls()


def test_who_has_gone_uses_nothing_up(clock: Clock) -> None:
    handshakes = Handshakes(clock, Rate(1, 1.0))
    newcomers = crowd(clock, handshakes, 100)
    for newcomer in newcomers[:-1]:
        handshakes.end(newcomer)
    clock.pump([0.01] * 102)
    assert shaken(newcomers) == 2


def test_a_rate_that_changes_holds_for_those_who_wait(clock: Clock) -> None:
    handshakes = Handshakes(clock, Rate(1, 3600.0))
    newcomers = crowd(clock, handshakes, 3)
    clock.advance(1)
    assert shaken(newcomers) == 1
    handshakes.change(Rate(1, 1.0))
    assert shaken(newcomers) == 2
    handshakes.change(None)
    assert shaken(newcomers) == 3
    turn(clock)
    assert not clock.getDelayedCalls()


def test_one_that_raises_does_not_stop_the_others(clock: Clock) -> None:
    class Broken(Newcomer):
        def shake(self) -> None:
            raise MemoryError

    handshakes = Handshakes(clock, None)
    first, second = Newcomer(clock), Newcomer(clock)
    handshakes.join(first)
    handshakes.join(Broken(clock))
    handshakes.join(second)
    with pytest.raises(MemoryError):
        turn(clock)
    turn(clock)
    assert second.shaken
