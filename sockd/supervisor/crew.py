"""Crew of N workers: starts them, replaces those that end, lets them finish."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from heapq import heapify, heappop, heappush
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from sockd.control.words import Refused
from sockd.ipc.calls import NoAnswer, TooLate
from sockd.ipc.child import how_it_ended
from sockd.supervisor.spare import NO_SLOT, Spare
from sockd.supervisor.worker_process import HandedWorker, Order, WorkerProcess
from sockd.telemetry.snapshot import ProcessSnapshot
from sockd.telemetry.supervision import SupervisorEvents
from sockd.text import describe_os_error

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds until a worker is started again that has soon ended, by how often in a row."""

STEADY = 10.0
"""Seconds after which the end of a worker is not taken for a fault of its start."""

KILLED_DELAY = 0.25
"""Longest delay in seconds until a worker is started again that was killed: that is no fault of its own."""

AT_ONCE = len(os.sched_getaffinity(0))
"""Workers that start at the same time, one for each core: with more, the first one would be late."""

TURN = 0.05
"""Seconds between two looks whether a core is free for the next start."""

RETIRE_TIMEOUT = 1.0
"""Seconds that old workers have to answer that they accept no more; one that hangs is not waited for."""


class CannotServe(Exception):
    """Workers cannot be brought to serve. The text gives the reason."""


class Crew:
    """Workers of one supervisor.

    Args:
        reactor: the supervisor's.
        size: how many there are.
        seats: how many processes can note at once what they hold; the first seat is the supervisor's.
        order: what a worker is to serve, by its slot and its seat.
        load: what one that has no place yet is to load.
        options: for the workers' command line.
        events: told about everything that happens.
        forget: called with the seat of a process that has ended.
    """

    def __init__(
        self,
        reactor: Any,
        size: int,
        seats: int,
        order: Callable[[int, int], Order],
        load: Callable[[], Order],
        options: Sequence[str],
        events: SupervisorEvents,
        forget: Callable[[int], None],
    ) -> None:
        self.workers: list[WorkerProcess | None] = [None] * size
        self.leaving: set[WorkerProcess] = set()
        self.generation = 1
        self.cut = 0  # connections that had to be
        self.changed: Callable[[], None] = lambda: None
        self.final_snapshot: Callable[[WorkerProcess, ProcessSnapshot], None] = lambda worker, snapshot: None  # noqa: ARG005
        self._reactor = reactor
        self._order = order
        self._options = options
        self._events = events
        self._forget = forget
        self._seats = list(range(1, seats))
        heapify(self._seats)
        self._failures = [0] * size
        self._timers: list[IDelayedCall | None] = [None] * size
        self._stopping = False
        self.spare = Spare(reactor, lambda: self._launch(NO_SLOT), load, events)

    @property
    def serving(self) -> list[WorkerProcess]:
        """Workers that accept peers."""
        return [worker for worker in self.workers if worker is not None and worker.state == "open"]

    # The start.

    async def start(self) -> list[dict[str, Any]]:
        """Bring all workers to serve, and return the answer of each.

        Raises:
            CannotServe: one could not, and none is left.
        """
        workers = await self._ready_workers()
        self.workers = list(workers)
        opened = [await worker.open() for worker in workers]
        self._reserve()
        return opened

    async def _ready_workers(self) -> list[WorkerProcess]:
        """Start all workers, and return them when each is ready to be opened."""
        workers: list[WorkerProcess] = []
        try:
            for slot in range(len(self.workers)):
                workers.append(self._launch(slot))  # noqa: PERF401  # those before one that fails are ended
            await _all(worker.start(self._order(worker.slot, worker.seat)) for worker in workers)
            if not all(worker.alive for worker in workers):
                raise NoAnswer("the process is gone")
        except (OSError, Refused, NoAnswer) as error:
            for worker in workers:
                worker.kill()
            await _all(_gone(worker) for worker in workers)
            raise CannotServe(_why(error, workers)) from error
        return workers

    def _launch(self, slot: int) -> WorkerProcess:
        if not self._seats:
            raise OSError("too many workers have not finished yet")
        seat = heappop(self._seats)
        try:
            return self._worker(slot, self.generation, seat)
        except BaseException:  # whatever it was, the seat is free again
            heappush(self._seats, seat)
            raise

    def _worker(
        self, slot: int, generation: int, seat: int, handed: HandedWorker | None = None
    ) -> WorkerProcess:
        return WorkerProcess(
            self._reactor,
            slot,
            generation,
            seat,
            self._options,
            self._ended,
            lambda worker: self._events.hung(worker.slot, worker.pid),
            self._news,
            handed,
        )

    # One of them.

    def _replace(self, slot: int) -> None:
        if not self.spare.ready and self._starting >= AT_ONCE:
            self._timers[slot] = self._reactor.callLater(TURN, self._replace, slot)
            return
        self._timers[slot] = None
        Deferred.fromCoroutine(self._bring_up(slot))

    async def _bring_up(self, slot: int) -> None:
        try:
            worker = self.spare.take() or self._launch(slot)
        except OSError as error:
            self._again(slot, describe_os_error(error))
            return
        worker.slot = slot
        self.workers[slot] = worker
        try:
            await worker.start(self._order(slot, worker.seat))
            await worker.open()
        except (Refused, TooLate) as error:
            worker.fault = str(error)
            worker.kill()
        except NoAnswer:
            pass  # it is gone, and another one will come
        else:
            self._events.started(slot, worker.pid, worker.generation)
            self.changed()
        self._reserve()

    async def try_out(self, order: Order) -> None:
        """Let a process that serves no peer load a configuration; raises as `Spare.try_out` does."""
        try:
            await self.spare.try_out(order)
        finally:
            self._reserve()

    def _reserve(self) -> None:
        """Prepare a spare worker, once every slot is taken."""
        if not self._stopping and len(self.serving) == len(self.workers):
            self.spare.prepare()

    @property
    def _starting(self) -> int:
        return sum(worker is not None and worker.state == "starting" for worker in self.workers)

    def _again(self, slot: int, reason: str = "", most: float = BACK_OFF[-1]) -> None:
        """Start another worker; later if that has just failed, but after `most` seconds at most."""
        delay = min(most, BACK_OFF[min(self._failures[slot], len(BACK_OFF) - 1)])
        self._failures[slot] += most > KILLED_DELAY or not self._failures[slot]
        if reason:
            self._events.not_started(slot, reason, delay)
        self._timers[slot] = self._reactor.callLater(delay, self._replace, slot)

    def _ended(self, worker: WorkerProcess, code: int) -> None:
        self._forget(worker.seat)
        heappush(self._seats, worker.seat)
        how = how_it_ended(code)
        if worker.last is not None:
            self.final_snapshot(worker, worker.last)
        if worker is self.spare.worker:
            self.spare.ended(worker, how)
        elif worker in self.leaving:
            self.leaving.discard(worker)
            self._events.left(worker.slot, worker.pid, how)
        elif worker.slot != NO_SLOT and self.workers[worker.slot] is worker:
            self.workers[worker.slot] = None
            if self._stopping:
                return
            if worker.state_before == "open":
                self._events.ended(worker.slot, worker.pid, how)
                self.changed()
            if self._reactor.seconds() - worker.started_at > STEADY:
                self._failures[worker.slot] = 0
            reason = "" if worker.state_before == "open" else worker.fault or worker.why_gone()
            killed = code == -signal.SIGKILL and not worker.fault
            self._again(worker.slot, reason, KILLED_DELAY if killed else BACK_OFF[-1])

    def _news(self, worker: WorkerProcess, name: str, fields: dict[str, Any]) -> None:
        if name == "stopped":
            self.cut += int(fields["cut"])
            worker.last = fields["snapshot"]
        elif name == "retiring" and self.workers[worker.slot] is worker and not self._stopping:
            self.workers[worker.slot] = None
            self.leaving.add(worker)
            self._replace(worker.slot)

    # From one image of the supervisor to the next.

    async def hold(self) -> None:
        """Start no workers any more, and end those that cannot be handed over, as they do not serve yet."""
        beginning = [worker for worker in self._begin_to_stop() if worker.hand_over(leaving=False) is None]
        for worker in beginning:
            worker.kill()
        await _all(_gone(worker) for worker in beginning)

    def go_on(self) -> None:
        """Start the workers that are missing."""
        self._stopping = False
        for slot, worker in enumerate(self.workers):
            if worker is None:
                self._replace(slot)
        self._reserve()

    def hand_over(self, keep: list[int]) -> dict[str, Any]:
        """Return the state for the next image as JSON has it; add its descriptors to `keep`."""
        handed = [worker.hand_over(leaving=worker in self.leaving) for worker in self.all_workers]
        keep += [each.channel for each in handed if each is not None]
        return {
            "size": len(self.workers),
            "generation": self.generation,
            "cut": self.cut,
            "members": [asdict(each) for each in handed if each is not None],
        }

    def take_over(self, handed: Mapping[str, Any]) -> None:
        """Take the workers of the former image over; `go_on` starts those that are missing."""
        self.generation, self.cut = handed["generation"], handed["cut"]
        for each in handed["members"]:
            former = HandedWorker(**each)
            worker = self._worker(former.slot, former.generation, former.seat, former)
            self._seats.remove(worker.seat)
            if former.leaving:
                self.leaving.add(worker)
            else:
                self.workers[worker.slot] = worker
        heapify(self._seats)

    # All of them.

    async def upgrade(self) -> None:
        """Replace all workers by a new generation; the old ones finish what they have.

        Raises:
            CannotServe: nothing has changed.
        """
        self.spare.drop()
        self.generation += 1
        try:
            new = await self._ready_workers()
        except CannotServe:
            self.generation -= 1
            self._reserve()
            raise
        self._forget_timers()
        old = [worker for worker in self.workers if worker is not None]
        self.workers = list(new)
        self._failures = [0] * len(new)
        self.leaving.update(old)
        # A datagram socket has one reader at a time, so the old ones stop before the new ones begin.
        await _all(self._retire(worker) for worker in old)
        await _all(self._open(worker) for worker in new)
        self._reserve()

    async def _retire(self, worker: WorkerProcess) -> None:
        if worker.state != "open":
            worker.kill()
            return
        with suppress(Refused, NoAnswer):  # it hangs or is gone; if it wakes up, it finds the request
            await worker.ask("retire", within=RETIRE_TIMEOUT)

    async def _open(self, worker: WorkerProcess) -> None:
        try:
            await worker.open()
        except (Refused, TooLate) as error:
            worker.fault = str(error)
            worker.kill()
        except NoAnswer:
            pass  # as above

    async def stop(self, patience: float) -> None:
        """Let all workers finish, and end those that have not after `patience` seconds."""
        all_workers = self._begin_to_stop()
        timer = self._reactor.callLater(patience, self.kill)
        for worker in all_workers:
            if worker.state == "open":
                Deferred.fromCoroutine(worker.ask("stop")).addErrback(lambda _: None)
            elif worker not in self.leaving:
                worker.kill()
        await _all(_gone(worker) for worker in all_workers)
        if timer.active():
            timer.cancel()

    def _begin_to_stop(self) -> list[WorkerProcess]:
        self._stopping = True
        self._forget_timers()
        spare = self.spare.drop()
        return [*self.all_workers, *([spare] if spare is not None else ())]

    def _forget_timers(self) -> None:
        for slot, timer in enumerate(self._timers):
            if timer is not None and timer.active():
                timer.cancel()
            self._timers[slot] = None

    @property
    def all_workers(self) -> list[WorkerProcess]:
        """All workers with a process, also those that finish what they have."""
        return [*(worker for worker in self.workers if worker is not None), *self.leaving]

    def hurry(self) -> None:
        """Let all workers wait for connections no longer."""
        for worker in self.all_workers:
            Deferred.fromCoroutine(worker.ask("hurry")).addErrback(lambda _: None)

    def kill(self) -> None:
        """Kill all workers."""
        for worker in self.all_workers:
            worker.kill()


async def _gone(worker: WorkerProcess) -> None:
    await worker.gone


async def _all(steps: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Await all steps together; when all have ended, raise the error of the first that has failed."""
    results = await DeferredList([Deferred.fromCoroutine(step) for step in steps], consumeErrors=True)
    for succeeded, result in results:
        if not succeeded and isinstance(result, Failure):
            result.raiseException()
    return [result for _, result in results]


def _why(error: Exception, workers: Sequence[WorkerProcess]) -> str:
    gone = [worker for worker in workers if worker.code not in (None, -signal.SIGKILL)]
    if isinstance(error, Refused) or not gone:
        return str(error)
    return f"a worker has ended before it could serve: {gone[0].why_gone()}"
