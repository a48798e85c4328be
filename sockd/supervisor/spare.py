"""Spare worker: has loaded everything, and waits for a slot to become free.

An interpreter with Twisted and the plugins takes half a second to start, on a busy machine more than one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from sockd.control.words import Refused
from sockd.ipc.calls import NoAnswer
from sockd.supervisor.worker_process import Order, WorkerProcess
from sockd.telemetry.supervision import SupervisorEvents
from sockd.text import describe_os_error

NO_SLOT = -1
"""Slot of a worker that has none yet."""

RETRY = (0.0, 1.0, 5.0, 30.0)
"""Seconds until the next try after one that failed, by the number of failures in a row."""


class Spare:
    """Keeps one spare worker ready.

    Args:
        reactor: the supervisor's.
        launch: starts a worker's process.
        order: what it is to load.
        events: reports that there is none.
    """

    def __init__(
        self,
        reactor: Any,
        launch: Callable[[], WorkerProcess],
        order: Callable[[], Order],
        events: SupervisorEvents,
    ) -> None:
        self.worker: WorkerProcess | None = None
        self._reactor = reactor
        self._launch = launch
        self._order = order
        self._events = events
        self._failures = 0
        self._timer: IDelayedCall | None = None
        self._on_trial: set[WorkerProcess] = set()

    @property
    def ready(self) -> bool:
        """Tell whether the spare worker has loaded everything."""
        return self.worker is not None and self.worker.state == "spare"

    def prepare(self) -> None:
        """Start a spare worker, if there is none."""
        self._forget_timer()
        if self.worker is not None:
            return
        try:
            self.worker = self._launch()
        except OSError as error:
            self._again(describe_os_error(error))
            return
        Deferred.fromCoroutine(self._load(self.worker))

    async def _load(self, worker: WorkerProcess) -> None:
        try:
            await worker.prepare(self._order())
        except (Refused, NoAnswer) as error:
            worker.fault = str(error)
            worker.kill()
        else:
            self._failures = 0

    def take(self) -> WorkerProcess | None:
        """Return the spare worker, for a slot; None if it is not ready."""
        if not self.ready:
            return None
        worker, self.worker = self.worker, None
        return worker

    def give_back(self, worker: WorkerProcess) -> None:
        """Keep a worker that was taken and has got no slot, unless there is another one already."""
        if self.worker is None and worker.state == "spare":
            self._forget_timer()
            self.worker = worker
        else:
            worker.kill()

    async def try_out(self, order: Order) -> None:
        """Let the spare worker, or a new process, load a configuration and start what is new in it.

        Raises:
            OSError: no process can be started.
            Refused: the configuration cannot be served.
            NoAnswer: the process has ended, or took too long.
        """
        worker = self.take() or self._launch()
        self._on_trial.add(worker)
        try:
            await worker.check(order)
        except BaseException as error:  # whatever it was, nothing of it must come to serve
            worker.kill()
            await worker.gone
            if isinstance(error, NoAnswer):
                raise NoAnswer(worker.why_trial_failed()) from error
            raise
        else:
            # Where plugins have started, something of them may be left.
            if order.message.get("services"):
                worker.kill()
            else:
                self.give_back(worker)
        finally:
            self._on_trial.discard(worker)

    def give_up_trials(self, reason: str) -> None:
        """End the trials that are under way."""
        for worker in self._on_trial:
            worker.fault = reason
            worker.kill()

    def ended(self, worker: WorkerProcess, how: str) -> None:
        """Start another spare worker in place of one that has ended."""
        self.worker = None
        self._again(worker.fault or how)

    def drop(self) -> WorkerProcess | None:
        """Kill the spare worker, and return it if its end is still to come."""
        self._forget_timer()
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.kill()
        return worker

    def _again(self, reason: str) -> None:
        delay = RETRY[min(self._failures, len(RETRY) - 1)]
        if self._failures:
            self._events.no_spare(reason, delay)
        self._failures += 1
        self._timer = self._reactor.callLater(delay, self.prepare)

    def _forget_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
