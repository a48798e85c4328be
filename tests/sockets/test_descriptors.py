from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from sockd.sockets.descriptors import A_TURN, PAUSE, Descriptors, used

LIMIT = 400
"""Limit of descriptors in the tests."""


class Bench:
    """Real descriptors of this process, under a low limit."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.held: list[bool] = []
        self.short: list[int] = []
        self.relieved = 0
        self.open: list[int] = []
        self.descriptors = Descriptors(self.clock, self._hold, self.short.append, self._relieve)

    def _hold(self, *, held: bool) -> None:
        self.held.append(held)

    def _relieve(self) -> None:
        self.relieved += 1

    def use(self, up_to: int) -> None:
        """Open descriptors until so many are open in all."""
        while used() < up_to:
            self.open.append(os.open(os.devnull, os.O_RDONLY))

    def free(self) -> None:
        while self.open:
            os.close(self.open.pop())


@pytest.fixture
def bench() -> Iterator[Bench]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
    made = Bench()
    yield made
    made.free()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


EDGE = LIMIT - LIMIT // 4


def test_accepting_goes_on_while_there_are_enough(bench: Bench) -> None:
    bench.use(EDGE // 2)
    assert [bench.descriptors.grant(10) for _ in range(10)] == [10] * 10
    assert bench.held == []


def test_accepting_pauses_before_the_last_and_resumes_when_some_are_free(bench: Bench) -> None:
    """The reserve stays free for other code."""
    bench.use(EDGE)
    assert bench.descriptors.grant(100) == 0
    assert bench.held == [True]
    assert bench.short == [LIMIT]
    assert bench.relieved == 1
    os.close(os.open(os.devnull, os.O_RDONLY))
    bench.clock.pump([PAUSE] * 5)
    assert bench.held == [True]
    assert bench.relieved == 6
    bench.free()
    bench.clock.pump([PAUSE] * 2)
    assert bench.held == [True, False]
    assert bench.clock.getDelayedCalls() == []
    assert bench.descriptors.grant(10) == 10


def test_the_reserve_is_left_whatever_the_number_of_ports_and_connections(bench: Bench) -> None:
    """A reactor accepts a hundred in one turn, for each of its ports."""
    while granted := bench.descriptors.grant(100):
        assert granted <= A_TURN
        bench.use(used() + granted)
    assert used() == EDGE
    assert bench.held == [True]


def test_a_low_number_that_is_free_is_no_room(bench: Bench) -> None:
    """A port that pauses closes a descriptor of its own, for example."""
    bench.use(EDGE + 1)
    os.close(bench.open.pop(0))
    assert bench.descriptors.grant(1) == 0


def test_accepting_pauses_even_when_not_one_is_left(bench: Bench) -> None:
    with pytest.raises(OSError, match="Too many open files"):
        bench.use(LIMIT + 10)
    assert bench.descriptors.grant(100) == 0
    assert bench.held == [True]


def test_descriptors_are_counted_less_often_while_many_are_free(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    monkeypatch.setattr("sockd.sockets.descriptors.used", lambda: looks.append(1) or 10)  # type: ignore[func-returns-value]
    for _ in range(120):
        assert bench.descriptors.grant(1) == 1
    assert len(looks) == 1


COUNT = """
import os
from sockd.sockets.descriptors import used
new = used()
os.stat = lambda path: os.stat_result((0,) * 10)
assert used() in (new, new + 1)  # with the one that reads the folder
"""


def test_open_descriptors_are_counted_on_any_kernel() -> None:
    """In a process of its own, where nothing opens or closes any meanwhile."""
    subprocess.run([sys.executable, "-c", COUNT], check=True)
