"""History of a chat in its threads: group commit, succession, and the death of the process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from benchmarks.history_crash import Turns
from sockd_plugins.chat.history.erasing import Bounds
from sockd_plugins.chat.history.history import History
from sockd_plugins.chat.history.worker import Worker
from sockd_plugins.chat.hub.delivery import NotStored
from sockd_plugins.chat.hub.events import Said

ROOT = Path(__file__).parents[3]


def messages(first: int, last: int, text: str = "hello") -> list[Said]:
    return [Said("lobby", "ann", text, number, 1e9) for number in range(first, last + 1)]


async def as_coroutine(deferred: Deferred[Any]) -> Any:
    return await deferred


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def opened(tmp_path: Path, turns: Turns) -> Iterator[Callable[[], History]]:
    histories: list[History] = []

    def open_one() -> History:
        histories.append(History(tmp_path, Bounds(age=0), turns, Logger()))
        turns.wait_for(histories[-1].open())
        return histories[-1]

    yield open_one
    for history in histories:
        turns.wait_for(history.close())


def test_jobs_that_wait_while_others_are_done_are_done_together(turns: Turns) -> None:
    began, goes_on = Event(), Event()
    groups: list[Sequence[int]] = []

    def do(jobs: Sequence[int]) -> Sequence[object]:
        groups.append(jobs)
        began.set()
        goes_on.wait(60)
        return [job * 2 for job in jobs]

    worker = Worker("test", turns, do)
    answers = [worker.ask(1)]
    assert began.wait(60)
    answers += [worker.ask(2), worker.ask(3)]
    goes_on.set()
    assert turns.wait_for(as_coroutine(gatherResults(answers))) == [2, 4, 6]
    assert groups == [[1], [2, 3]]
    turns.wait_for(as_coroutine(worker.end()))


def test_a_group_that_cannot_be_stored_leaves_those_it_waited_with_alone(
    turns: Turns, opened: Callable[[], History]
) -> None:
    history = opened()
    turns.wait_for(history.keep(messages(1, 3)))
    results = history._write([messages(4, 5), messages(5, 6), messages(6, 7)])
    assert [isinstance(result, Failure) for result in results] == [False, True, False]
    assert turns.wait_for(history.latest("lobby", 10)) == (7, tuple(messages(1, 7)))


def test_a_history_waits_for_the_last_message_of_the_one_before_it(
    turns: Turns, opened: Callable[[], History]
) -> None:
    old, new = opened(), opened()
    turns.wait_for(old.keep(messages(1, 3)))
    first: list[Any] = []
    Deferred.fromCoroutine(new.latest("lobby", 10)).addBoth(first.append)
    turns.wait_for(old.keep(messages(4, 5)))
    assert not first
    Deferred.fromCoroutine(old.keep(messages(6, 6))).addErrback(first.append)
    turns.wait_for(old.close())
    assert turns.wait_for(new.latest("lobby", 1)) == (6, tuple(messages(6, 6)))
    assert first == [(6, tuple(messages(1, 6)))]
    turns.wait_for(new.keep(messages(7, 7)))


def test_a_history_that_only_waits_can_be_closed(turns: Turns, opened: Callable[[], History]) -> None:
    old, new = opened(), opened()
    turns.wait_for(old.keep(messages(1, 1)))
    waiting = Deferred.fromCoroutine(new.latest("lobby", 10))
    turns.wait_for(new.close())
    with pytest.raises(NotStored, match=r"^process \d+ has the lock history\.owner|is closed$"):
        turns.wait_for(as_coroutine(waiting))
    turns.wait_for(old.keep(messages(2, 2)))


def test_one_that_was_only_opened_keeps_nobody_waiting(turns: Turns, opened: Callable[[], History]) -> None:
    trial, real = opened(), opened()
    turns.wait_for(real.keep(messages(1, 1)))
    turns.wait_for(trial.close())
    assert turns.wait_for(real.latest("lobby", 1))[0] == 1


def test_words_are_indexed_by_themselves_in_a_quiet_moment(
    turns: Turns, opened: Callable[[], History]
) -> None:
    history, indexed = opened(), Deferred[None]()
    step = history._upkeep.step

    def tell_of_step() -> bool:
        more = step()
        if not more:
            turns.callFromThread(tell)
        return more

    def tell() -> None:
        if not indexed.called:
            indexed.callback(None)

    history._upkeep.step = tell_of_step  # type: ignore[method-assign]
    turns.wait_for(history.keep(messages(1, 300)))
    turns.wait_for(as_coroutine(indexed))
    assert [each.number for each in turns.wait_for(history.search("hello", "lobby", 1))] == [300]


def test_a_killed_process_loses_no_message_that_it_has_acknowledged() -> None:
    command = [sys.executable, "-m", "benchmarks.history_crash", "30"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("30 kills, ")
