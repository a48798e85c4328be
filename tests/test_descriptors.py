from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from sockd.descriptors import LOOK_EVERY, PAUSE, Descriptors

LIMIT = 400
"""Descriptors that the tests let themselves have."""


class Bench:
    """The real descriptors of this process, under a low limit."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.held: list[bool] = []
        self.short: list[int] = []
        self.open: list[int] = []
        self.descriptors = Descriptors(self.clock, self._hold, self.short.append)

    def _hold(self, *, held: bool) -> None:
        self.held.append(held)

    def use(self, up_to: int) -> None:
        """Open some until so many are open in all."""
        while not self.open or self.open[-1] < up_to - 1:
            self.open.append(os.open(os.devnull, os.O_RDONLY))

    def free(self) -> None:
        while self.open:
            os.close(self.open.pop())

    def accept(self, connections: int = LOOK_EVERY) -> None:
        for _ in range(connections):
            self.descriptors.accepted()


@pytest.fixture
def bench() -> Iterator[Bench]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
    made = Bench()
    yield made
    made.free()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_accepting_goes_on_while_there_are_enough(bench: Bench) -> None:
    bench.use(LIMIT // 2)
    bench.accept(100)
    assert bench.held == []


def test_accepting_pauses_before_the_last_and_resumes_when_some_are_free(bench: Bench) -> None:
    """Fault 1: whoever else needs one still gets it."""
    bench.use(LIMIT - LIMIT // 4 + 1)
    bench.accept()
    assert bench.held == [True]
    assert bench.short == [LIMIT]
    os.close(os.open(os.devnull, os.O_RDONLY))
    bench.clock.pump([PAUSE] * 5)
    assert bench.held == [True]
    bench.free()
    bench.clock.pump([PAUSE] * 2)
    assert bench.held == [True, False]
    assert bench.clock.getDelayedCalls() == []


def test_accepting_pauses_even_when_not_one_is_left(bench: Bench) -> None:
    with pytest.raises(OSError, match="Too many open files"):
        bench.use(LIMIT + 10)
    bench.accept()
    assert bench.held == [True]


def test_it_is_looked_at_once_in_so_many_connections_and_not_while_paused(bench: Bench) -> None:
    bench.use(LIMIT - 10)
    bench.accept(LOOK_EVERY - 1)
    assert bench.held == []
    bench.accept(10 * LOOK_EVERY)
    assert bench.held == [True]
    assert len(bench.clock.getDelayedCalls()) == 1


def test_looking_leaves_no_descriptor_open(bench: Bench) -> None:
    before = len(os.listdir("/proc/self/fd"))
    bench.accept(100 * LOOK_EVERY)
    assert len(os.listdir("/proc/self/fd")) == before
