"""Worker's process whose silence ends it; processes, channels and time are made up."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockd.supervisor import worker_process
from sockd.supervisor.worker_process import SILENT_TICKS, START_TIMEOUT, TICK, Order, WorkerProcess

SILENCE = SILENT_TICKS * TICK


class Process:
    """Process that notes its signals, with a channel that answers when the test wants it to."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.asked: list[tuple[str, Deferred[Any]]] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)

    async def ask(self, command: str, **_: Any) -> Any:
        answer: Deferred[Any] = Deferred()
        self.asked.append((command, answer))
        return await answer

    def answer(self, command: str) -> None:
        for asked in [asked for asked in self.asked if asked[0] == command]:
            self.asked.remove(asked)
            asked[1].callback(None)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    monkeypatch.setattr(worker_process, "start_worker", lambda *_: (1, None))
    for name in ("ChildProcess", "Calls"):
        monkeypatch.setattr(worker_process, name, lambda *_, **__: process)
    return process


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(process: Process, clock: Clock) -> WorkerProcess:
    ignored: Callable[..., None] = lambda *_: None  # noqa: E731
    return WorkerProcess(clock, 0, 0, 0, (), ignored, ignored, ignored)


def pass_time(clock: Clock, seconds: float) -> None:
    clock.pump([TICK] * round(seconds / TICK))


def test_a_configuration_on_trial_that_blocks_a_new_process_ends_it_after_ten_seconds(
    worker: WorkerProcess, process: Process, clock: Clock
) -> None:
    """The interpreter has answered once; then it loads a plugin that blocks."""
    Deferred.fromCoroutine(worker.check(Order({}, ())))
    pass_time(clock, 2)
    process.answer("ping")
    pass_time(clock, SILENCE)
    assert process.signals == []
    pass_time(clock, 2 * TICK)
    assert process.signals == [signal.SIGABRT]


def test_an_interpreter_may_take_its_time_to_start(
    worker: WorkerProcess, process: Process, clock: Clock
) -> None:
    Deferred.fromCoroutine(worker.check(Order({}, ())))
    pass_time(clock, START_TIMEOUT + SILENCE - TICK)
    assert process.signals == []
    pass_time(clock, 2 * TICK)
    assert process.signals == [signal.SIGABRT]


def test_a_worker_that_is_to_serve_may_take_its_time_to_load(
    worker: WorkerProcess, process: Process, clock: Clock
) -> None:
    Deferred.fromCoroutine(worker.start(Order({}, ())))
    pass_time(clock, 2)
    process.answer("ping")
    pass_time(clock, START_TIMEOUT + SILENCE)
    assert process.signals == []


def test_a_process_that_has_passed_a_trial_is_a_spare_like_others(
    worker: WorkerProcess, process: Process, clock: Clock
) -> None:
    Deferred.fromCoroutine(worker.check(Order({}, ())))
    process.answer("check")
    assert worker.state == "spare"
    Deferred.fromCoroutine(worker.start(Order({}, (), blocking=60.0)))
    process.answer("ping")
    pass_time(clock, SILENCE)
    assert process.signals == []
