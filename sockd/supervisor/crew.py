"""Keeps N workers alive: starts them, replaces those that end, lets them go."""

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
from sockd.supervisor.member import Handed, Member, Order
from sockd.supervisor.spare import NO_SLOT, Spare
from sockd.telemetry.snapshot import ProcessSnapshot
from sockd.telemetry.supervision import SupervisorEvents
from sockd.text import describe_os_error

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds until a worker is started again that has soon ended, by how often in a row."""

STEADY = 10.0
"""Seconds after which the end of a worker is not taken for a fault of its start."""

KILLED_DELAY = 0.25
"""The longest time until one is started again that somebody has killed: that is no fault of its own."""

AT_ONCE = len(os.sched_getaffinity(0))
"""Workers that are started side by side in the place of others: with more, the first one would be late."""

TURN = 0.05
"""Seconds until it is looked again whether there is a core for the next one."""

RETIRE_TIMEOUT = 1.0
"""Seconds that old workers have to say that they accept no more. One that is stuck is not waited for."""


class CannotServe(Exception):
    """Workers cannot be brought to serve; says why."""


class Crew:
    """The workers.

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
        self.members: list[Member | None] = [None] * size
        self.leaving: set[Member] = set()
        self.generation = 1
        self.cut = 0  # connections that had to be
        self.changed: Callable[[], None] = lambda: None
        self.last_words: Callable[[Member, ProcessSnapshot], None] = lambda member, snapshot: None  # noqa: ARG005
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
        self._spare = Spare(reactor, lambda: self._launch(NO_SLOT), load, events)

    @property
    def serving(self) -> list[Member]:
        """Those that have been opened."""
        return [member for member in self.members if member is not None and member.state == "open"]

    # The start.

    async def start(self) -> list[dict[str, Any]]:
        """Bring all of them to serve; returns what they say about that.

        Raises:
            CannotServe: one could not, and none is left.
        """
        members = await self._ready_members()
        self.members = list(members)
        opened = [await member.open() for member in members]
        self._reserve()
        return opened

    async def _ready_members(self) -> list[Member]:
        """A whole crew that waits for the word to serve."""
        members: list[Member] = []
        try:
            for slot in range(len(self.members)):
                members.append(self._launch(slot))  # noqa: PERF401  # those before one that fails are ended
            await _all(member.start(self._order(member.slot, member.seat)) for member in members)
            if not all(member.alive for member in members):
                raise NoAnswer("the process is gone")
        except (OSError, Refused, NoAnswer) as error:
            for member in members:
                member.kill()
            await _all(_gone(member) for member in members)
            raise CannotServe(_why(error, members)) from error
        return members

    def _launch(self, slot: int) -> Member:
        if not self._seats:
            raise OSError("too many workers have not finished yet")
        seat = heappop(self._seats)
        try:
            return self._member(slot, self.generation, seat)
        except BaseException:  # whatever it was, the seat is free again
            heappush(self._seats, seat)
            raise

    def _member(self, slot: int, generation: int, seat: int, handed: Handed | None = None) -> Member:
        return Member(
            self._reactor,
            slot,
            generation,
            seat,
            self._options,
            self._ended,
            lambda member: self._events.hung(member.slot, member.pid),
            self._news,
            handed,
        )

    # One of them.

    def _replace(self, slot: int) -> None:
        if not self._spare.ready and self._beginning >= AT_ONCE:
            self._timers[slot] = self._reactor.callLater(TURN, self._replace, slot)
            return
        self._timers[slot] = None
        Deferred.fromCoroutine(self._bring_up(slot))

    async def _bring_up(self, slot: int) -> None:
        try:
            member = self._spare.take() or self._launch(slot)
        except OSError as error:
            self._again(slot, describe_os_error(error))
            return
        member.slot = slot
        self.members[slot] = member
        try:
            await member.start(self._order(slot, member.seat))
            await member.open()
        except (Refused, TooLate) as error:
            member.fault = str(error)
            member.kill()
        except NoAnswer:
            pass  # it is gone, and another one will come
        else:
            self._events.started(slot, member.pid, member.generation)
            self.changed()
        self._reserve()

    async def try_out(self, order: Order) -> None:
        """Let a process that serves nobody load something: the spare one, or one that is started for it.

        Raises:
            OSError: no process can be started.
            Refused: it cannot.
            NoAnswer: it has ended, or took too long.
        """
        member = self._spare.take() or self._launch(NO_SLOT)
        try:
            await member.check(order)
        except BaseException as error:  # whatever it was, nothing of it must come to serve
            member.kill()
            await member.gone
            if isinstance(error, NoAnswer):
                raise NoAnswer(member.why_trial_failed()) from error
            raise
        else:
            # Where plugins have started, something of them may be left.
            if order.message.get("services"):
                member.kill()
            else:
                self._spare.give_back(member)
        finally:
            self._reserve()

    def _reserve(self) -> None:
        """Prepare a spare one, once every place is taken."""
        if not self._stopping and len(self.serving) == len(self.members):
            self._spare.prepare()

    @property
    def _beginning(self) -> int:
        return sum(member is not None and member.state == "starting" for member in self.members)

    def _again(self, slot: int, reason: str = "", most: float = BACK_OFF[-1]) -> None:
        """Start another one, later if that has just failed, but after so many seconds at most."""
        delay = min(most, BACK_OFF[min(self._failures[slot], len(BACK_OFF) - 1)])
        self._failures[slot] += most > KILLED_DELAY or not self._failures[slot]
        if reason:
            self._events.not_started(slot, reason, delay)
        self._timers[slot] = self._reactor.callLater(delay, self._replace, slot)

    def _ended(self, member: Member, code: int) -> None:
        self._forget(member.seat)
        heappush(self._seats, member.seat)
        how = how_it_ended(code)
        if member.last is not None:
            self.last_words(member, member.last)
        if member is self._spare.member:
            self._spare.ended(member, how)
        elif member in self.leaving:
            self.leaving.discard(member)
            self._events.left(member.slot, member.pid, how)
        elif member.slot != NO_SLOT and self.members[member.slot] is member:
            self.members[member.slot] = None
            if self._stopping:
                return
            if member.state_before == "open":
                self._events.ended(member.slot, member.pid, how)
                self.changed()
            if self._reactor.seconds() - member.started_at > STEADY:
                self._failures[member.slot] = 0
            reason = "" if member.state_before == "open" else member.fault or member.why_gone()
            killed = code == -signal.SIGKILL and not member.fault
            self._again(member.slot, reason, KILLED_DELAY if killed else BACK_OFF[-1])

    def _news(self, member: Member, name: str, fields: dict[str, Any]) -> None:
        if name == "stopped":
            self.cut += int(fields["cut"])
            member.last = fields["snapshot"]
        elif name == "retiring" and self.members[member.slot] is member and not self._stopping:
            self.members[member.slot] = None
            self.leaving.add(member)
            self._replace(member.slot)

    # From one image of the supervisor to the next.

    async def hold(self) -> None:
        """Start nobody any more, and end those that cannot be handed over, as they do not serve yet."""
        beginning = [member for member in self._begin_to_stop() if member.handed(leaving=False) is None]
        for member in beginning:
            member.kill()
        await _all(_gone(member) for member in beginning)

    def go_on(self) -> None:
        """Start whoever is missing."""
        self._stopping = False
        for slot, member in enumerate(self.members):
            if member is None:
                self._replace(slot)
        self._reserve()

    def hand_over(self, keep: list[int]) -> dict[str, Any]:
        """As JSON has it, for another image of this process, which needs these descriptors besides."""
        handed = [member.handed(leaving=member in self.leaving) for member in self.everybody]
        keep += [each.channel for each in handed if each is not None]
        return {
            "size": len(self.members),
            "generation": self.generation,
            "cut": self.cut,
            "members": [asdict(each) for each in handed if each is not None],
        }

    def take_over(self, handed: Mapping[str, Any]) -> None:
        """Go on with the workers of the former image; `go_on` starts those that are missing."""
        self.generation, self.cut = handed["generation"], handed["cut"]
        for each in handed["members"]:
            worker = Handed(**each)
            member = self._member(worker.slot, worker.generation, worker.seat, worker)
            self._seats.remove(member.seat)
            if worker.leaving:
                self.leaving.add(member)
            else:
                self.members[member.slot] = member
        heapify(self._seats)

    # All of them.

    async def upgrade(self) -> None:
        """Let a new generation serve in the place of this one, which finishes what it has.

        Raises:
            CannotServe: nothing has changed.
        """
        self._spare.drop()
        self.generation += 1
        try:
            new = await self._ready_members()
        except CannotServe:
            self.generation -= 1
            self._reserve()
            raise
        self._forget_timers()
        old = [member for member in self.members if member is not None]
        self.members = list(new)
        self._failures = [0] * len(new)
        self.leaving.update(old)
        # A datagram socket has one reader at a time, so the old ones stop before the new ones begin.
        await _all(self._retire(member) for member in old)
        await _all(self._open(member) for member in new)
        self._reserve()

    async def _retire(self, member: Member) -> None:
        if member.state != "open":
            member.kill()
            return
        with suppress(Refused, NoAnswer):  # it hangs or is gone; if it wakes up, it finds the request
            await member.ask("retire", within=RETIRE_TIMEOUT)

    async def _open(self, member: Member) -> None:
        try:
            await member.open()
        except (Refused, TooLate) as error:
            member.fault = str(error)
            member.kill()
        except NoAnswer:
            pass  # as above

    async def stop(self, patience: float) -> None:
        """Let all of them finish, and end what has not after so many seconds."""
        everybody = self._begin_to_stop()
        timer = self._reactor.callLater(patience, self.kill)
        for member in everybody:
            if member.state == "open":
                Deferred.fromCoroutine(member.ask("stop")).addErrback(lambda _: None)
            elif member not in self.leaving:
                member.kill()
        await _all(_gone(member) for member in everybody)
        if timer.active():
            timer.cancel()

    def _begin_to_stop(self) -> list[Member]:
        self._stopping = True
        self._forget_timers()
        spare = self._spare.drop()
        return [*self.everybody, *([spare] if spare is not None else ())]

    def _forget_timers(self) -> None:
        for slot, timer in enumerate(self._timers):
            if timer is not None and timer.active():
                timer.cancel()
            self._timers[slot] = None

    @property
    def everybody(self) -> list[Member]:
        """Those too that finish."""
        return [*(member for member in self.members if member is not None), *self.leaving]

    def hurry(self) -> None:
        """Wait for connections no longer."""
        for member in self.everybody:
            Deferred.fromCoroutine(member.ask("hurry")).addErrback(lambda _: None)

    def kill(self) -> None:
        """End all of them at once."""
        for member in self.everybody:
            member.kill()


async def _gone(member: Member) -> None:
    await member.gone


async def _all(steps: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Do all of them at once; raises what the first that fails does, when all have ended."""
    results = await DeferredList([Deferred.fromCoroutine(step) for step in steps], consumeErrors=True)
    for succeeded, result in results:
        if not succeeded and isinstance(result, Failure):
            result.raiseException()
    return [result for _, result in results]


def _why(error: Exception, members: Sequence[Member]) -> str:
    gone = [member for member in members if member.code not in (None, -signal.SIGKILL)]
    if isinstance(error, Refused) or not gone:
        return str(error)
    return f"a worker has ended before it could serve: {gone[0].why_gone()}"
