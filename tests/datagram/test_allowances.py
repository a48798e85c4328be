from __future__ import annotations

from twisted.internet.task import Clock

from sockd.datagram.allowances import Allowances


def test_a_full_table_of_allowances_takes_nobody_new_and_puts_nobody_out() -> None:
    clock = Clock()
    allowances = Allowances(clock.seconds, 60.0, capacity=3)
    for peer in range(5):
        allowances.grant(peer, 10, 100)
    assert [allowances.spend(peer, 10) is not None for peer in range(5)] == [True, True, True, False, False]


def test_an_allowance_lasts_one_period_at_least_and_two_at_most() -> None:
    clock = Clock()
    allowances = Allowances(clock.seconds, 60.0)
    allowances.grant("a", 10, 100)
    clock.advance(90)
    assert allowances.spend("a", 1) is not None
    clock.advance(60)
    assert allowances.spend("a", 1) is None


def test_an_allowance_does_not_grow_beyond_its_bound() -> None:
    allowances = Allowances(Clock().seconds, 60.0)
    for _ in range(100):
        allowances.grant("a", 10, 25)
    assert allowances.spend("a", 25) is not None
    assert allowances.spend("a", 1) is None


def test_an_answer_that_comes_later_takes_the_way_of_the_last_question() -> None:
    allowances = Allowances(Clock().seconds, 60.0)
    allowances.grant("a", 10, 100, b"one")
    allowances.grant("a", 10, 100, b"other")
    assert allowances.spend("a", 20) == b"other"
