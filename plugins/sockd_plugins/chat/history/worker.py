"""Threads that wait for the disk, so that the reactor does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

J = TypeVar("J")

_MOST_TOGETHER = 64
"""Jobs that are handed over together at most."""

_QUIET_SECONDS = 0.5
"""Seconds without a job until the thread rests, so that what rests does not come between two jobs."""

_BUSY_SECONDS = 1.0
"""Seconds after which it rests for a moment although there are jobs."""

_MOMENT_SECONDS = 0.05
"""Seconds of such a moment, about, for which jobs wait."""


class Worker(Generic[J]):
    """Thread that does jobs in their order, those that wait together.

    Without a reactor, as in a test, the work is done at once instead, and there is no rest.

    Args:
        name: of the thread.
        reactor: gets the answers, at most once for all jobs that were done together.
        do: does jobs; returns the result of each, a failure for one that has failed.
        rest: does a step of other work while there is no job; returns the seconds until it wants to be called
            again, None until another job has come.
    """

    def __init__(
        self,
        name: str,
        reactor: IReactorFromThreads | None,
        do: Callable[[Sequence[J]], Sequence[object]],
        rest: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._name = name
        self._reactor = reactor
        self._do = do
        self._rest = rest
        self._jobs: SimpleQueue[tuple[J, Deferred[Any]] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._ended: Deferred[None] | None = None

    def ask(self, job: J) -> Deferred[Any]:
        """Return the result of a job."""
        answer: Deferred[Any] = Deferred()
        if self._reactor is None:
            (result,) = self._do([job])
            answer.callback(result)
            return answer
        if self._thread is None:
            # A disk that never answers must not keep the process from its end.
            self._thread = Thread(target=self._serve, name=self._name, args=(self._reactor,), daemon=True)
            self._thread.start()
        self._jobs.put((job, answer))
        return answer

    def end(self) -> Deferred[None]:
        """End the thread after all jobs so far."""
        ended: Deferred[None] = Deferred()
        if self._thread is None or self._ended is not None:
            ended.callback(None)
        else:
            self._ended = ended
            self._jobs.put(None)
        return ended

    def _serve(self, reactor: IReactorFromThreads) -> None:
        pause: float | None = None
        rested = time.monotonic()
        while True:
            try:
                waiting = [self._jobs.get(timeout=pause)]
            except Empty:
                pause, rested = self._rest(), time.monotonic()
                continue
            while len(waiting) < _MOST_TOGETHER and waiting[-1] is not None and not self._jobs.empty():
                waiting.append(self._jobs.get())
            asked = [each for each in waiting if each is not None]
            if asked:
                results = self._do([job for job, _ in asked])
                reactor.callFromThread(_answer, [answer for _, answer in asked], results)
            if waiting[-1] is None:
                reactor.callFromThread(self._note_end)
                return
            pause = _QUIET_SECONDS
            if (now := time.monotonic()) - rested > _BUSY_SECONDS:
                while self._rest() == 0.0 and time.monotonic() < now + _MOMENT_SECONDS:
                    pass
                rested = time.monotonic()

    def _note_end(self) -> None:
        if self._ended is not None:
            self._ended.callback(None)


def _answer(answers: Sequence[Deferred[Any]], results: Sequence[object]) -> None:
    for answer, result in zip(answers, results, strict=True):
        answer.callback(result)


def results_of(jobs: Sequence[Callable[[], object]]) -> list[object]:
    """Do jobs, each by itself; return the result of each, a failure for one that has failed."""
    return [_result(job) for job in jobs]


def _result(job: Callable[[], object]) -> object:
    try:
        return job()
    except Exception:  # whoever has asked is told
        return Failure()
