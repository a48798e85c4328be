"""Worker as the supervisor sees it: its start, its signs of life, its end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from sockd.ipc.calls import Calls
from sockd.ipc.channel import Rest
from sockd.ipc.child import ChildProcess, how_it_ended, start_worker
from sockd.telemetry.snapshot import ProcessSnapshot

START_TIMEOUT = 30.0
"""Seconds in which a worker loads its plugins; their starts have a deadline of their own."""

TICK = 0.5
"""Seconds between two looks at a worker."""

PING_TICKS = 4
"""A question every 2 seconds."""

SILENT_TICKS = 19
"""A worker that says nothing for 9.5 seconds hangs. Ticks and not time: a supervisor that was stopped itself
must not take its own absence for theirs."""

ABORT_TIMEOUT = 1.0
"""Seconds that a worker has to write down where it hangs."""


@dataclass(frozen=True, slots=True)
class Order:
    """Configuration and descriptors for a worker.

    Attributes:
        message: as JSON has it.
        descriptors: what the message names, in its order.
        within: seconds for the answer.
        blocking: seconds for which a plugin may keep the worker from answering anything else.
    """

    message: dict[str, Any]
    descriptors: Sequence[int]
    within: float = START_TIMEOUT
    blocking: float = 0.0


@dataclass(frozen=True, slots=True)
class HandedWorker:
    """Worker's process, as one image of the supervisor leaves it to the next.

    Attributes:
        slot: which of the workers it is.
        generation: of which code.
        seat: where it notes what it holds of the limits.
        leaving: whether it finishes.
        pid: its number.
        channel: the descriptor of the way to it.
        received: what has come of a message, in hexadecimal digits, as JSON has no bytes.
        unsent: what is still to be sent, as well.
        age: seconds since it was started.
        last: its latest snapshot.
    """

    slot: int
    generation: int
    seat: int
    leaving: bool
    pid: int
    channel: int
    received: str
    unsent: str
    age: float
    last: ProcessSnapshot | None


class WorkerProcess:
    """Process of a worker and the channel to it.

    Args:
        reactor: the supervisor's.
        slot: which of the N workers it is.
        generation: of which code; each upgrade begins another.
        seat: where it notes what it holds of the limits.
        options: for its command line.
        ended: called once with itself and the exit code.
        hung: called before it is ended because it hangs.
        news: takes what it tells.
        handed: the process, if it serves already; otherwise one is started.

    Raises:
        OSError: the process cannot be started, or cannot be watched.
    """

    def __init__(
        self,
        reactor: Any,
        slot: int,
        generation: int,
        seat: int,
        options: Sequence[str],
        ended: Callable[[WorkerProcess, int], None],
        hung: Callable[[WorkerProcess], None],
        news: Callable[[WorkerProcess, str, dict[str, Any]], None],
        handed: HandedWorker | None = None,
    ) -> None:
        self.slot, self.generation, self.seat = slot, generation, seat
        self.state = self.state_before = "starting"
        self.code: int | None = None  # with which it has ended
        self.fault = ""  # why it cannot serve
        self._plugin = ""  # that it is starting, in words
        self._blocking = 0.0  # seconds for which that may keep it silent
        self._aborted = False
        # Seconds for which it may be silent while it starts, beyond the others.
        self._patience = START_TIMEOUT
        self._on_trial = False  # from its first answer on it may not be silent for longer than others
        self.last: ProcessSnapshot | None = None  # the latest snapshot
        self.started_at = reactor.seconds()
        self.gone: Deferred[None] = Deferred()
        self._reactor = reactor
        self._ended = ended
        self._hung = hung
        self._timer: IDelayedCall | None = None
        self._ticks = self._silent = 0
        self._news = news
        if handed is None:
            self.pid, channel = start_worker(*options)
            rest = None
        else:
            self.pid, channel = handed.pid, socket.socket(fileno=handed.channel)
            rest = Rest(bytes.fromhex(handed.received), bytes.fromhex(handed.unsent))
            self.state, self.last, self.started_at = "open", handed.last, self.started_at - handed.age
        try:
            self._process = ChildProcess(reactor, self.pid, self._has_ended)
        except OSError:
            channel.close()
            if handed is None:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            raise
        self._calls = Calls(channel, reactor, news=self._told, lost=self._lost, rest=rest)
        self._tick()

    @property
    def alive(self) -> bool:
        """Tell whether the process has not ended."""
        return self.state != "gone"

    def why_gone(self) -> str:
        """Return how the process has ended without an order, and which plugin was starting then."""
        how = how_it_ended(self.code) if self.code is not None else "it does not answer"
        if not self._plugin:
            return how
        what = "it blocks the process and cannot be interrupted" if self._aborted else "it ends the process"
        return f"{self._plugin} cannot start: {what} ({how})"

    def why_trial_failed(self) -> str:
        """Return why a process has ended that was to try a configuration."""
        if self.fault:
            return f"{self._plugin} cannot start: {self.fault}" if self._plugin else self.fault
        if self._plugin:
            return self.why_gone()
        return f"a plugin ends the process or blocks it while it is loaded: {self.why_gone()}"

    async def prepare(self, order: Order) -> None:
        """Let the worker load everything and wait for a slot; raises as `start` does."""
        await self._begin("prepare", order, 0.0)
        self.state = "spare"

    async def check(self, order: Order) -> None:
        """Let the worker load another configuration and start the services that the order names.

        Raises as `start` does, upon which it is of no use any more.
        """
        self._on_trial = True
        try:
            await self._begin("check", order, 0.0)  # a trial bounds by itself what a start may block
        finally:
            self._on_trial = False
        self.state = "spare"

    async def start(self, order: Order) -> None:
        """Let the worker load everything; it serves no peer yet.

        Raises:
            Refused: it cannot serve this.
            NoAnswer: it has ended, or took too long.
        """
        await self._begin("start", order, order.blocking)
        self.state = "ready"

    async def _begin(self, command: str, order: Order, blocking: float) -> None:
        self._patience = 0.0 if self.state == "spare" else START_TIMEOUT
        self._blocking = blocking
        self.state = "starting"
        await self.ask(command, within=order.within, order=order)
        self._silent = 0

    async def open(self) -> dict[str, Any]:
        """Let the worker serve, and return its answer."""
        opened: dict[str, Any] = await self.ask("open", within=START_TIMEOUT)
        self.state = "open"
        return opened

    async def ask(
        self, command: str, *, within: float | None = None, order: Order | None = None, **arguments: Any
    ) -> Any:
        """Return the answer to a command; raises as `Calls.ask` does."""
        message, descriptors = (order.message, order.descriptors) if order else ({}, ())
        return await self._calls.ask(command, within=within, descriptors=descriptors, **message, **arguments)

    def tell(self, news: str) -> None:
        """Send a message that needs no answer."""
        self._calls.tell(news)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.signal(number)

    def kill(self) -> None:
        """Kill the process."""
        self.signal(signal.SIGKILL)

    def hand_over(self, *, leaving: bool) -> HandedWorker | None:
        """Return the state for the next image of the supervisor; None if the worker cannot be handed over."""
        channel = self._calls.channel
        rest = channel.rest()
        if self.state != "open" or rest is None:
            return None
        return HandedWorker(
            self.slot,
            self.generation,
            self.seat,
            leaving,
            self.pid,
            channel.fileno(),
            rest.received.hex(),
            rest.unsent.hex(),
            self._reactor.seconds() - self.started_at,
            self.last,
        )

    def _tick(self) -> None:
        self._timer = self._reactor.callLater(TICK, self._tick)
        self._ticks += 1
        self._silent += 1
        patience = self._patience if self.state == "starting" else 0.0
        if self._silent > SILENT_TICKS + patience / TICK:
            self._abort()
        elif self._ticks % PING_TICKS == 1:
            Deferred.fromCoroutine(self.ask("ping")).addCallbacks(self._answered, lambda _: None)

    def _answered(self, _: Any) -> None:
        self._silent = 0
        if self._on_trial:  # its interpreter runs, and what is slow from now on is the configuration on trial
            self._patience = 0.0

    def _told(self, name: str, fields: dict[str, Any]) -> None:
        if name == "starting":
            self._plugin = fields["plugin"]
            self._patience, self._silent = self._blocking, 0  # everything is loaded
        else:
            self._news(self, name, fields)

    def _abort(self) -> None:
        """Let the process write where it hangs (faulthandler), then kill it."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._aborted = True
        self._hung(self)
        if self.state == "spare":
            self.state = "starting"  # it gets no place any more
        self.signal(signal.SIGABRT)
        self._timer = self._reactor.callLater(ABORT_TIMEOUT, self.kill)

    def _lost(self) -> None:
        # A worker ends by itself when its channel does; one that does not is of no use any more.
        if self.alive:
            self._reactor.callLater(ABORT_TIMEOUT, self.kill)

    def _has_ended(self, code: int) -> None:
        self.state_before, self.state, self.code = self.state, "gone", code
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._calls.close()
        self._ended(self, code)
        self.gone.callback(None)
