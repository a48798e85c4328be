"""The open connections of one service, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from sockd.config import Limits
from sockd.limits import Admission
from sockd.sockets.deadlines import Deadlines
from sockd.sockets.linger import Lingering
from sockd.stream.handshakes import Handshakes
from sockd.stream.output import Unread
from sockd.stream.pace import Pace
from sockd.stream.waiting import WaitingRoom
from sockd.telemetry.events import ServiceEvents

if TYPE_CHECKING:
    from sockd.stream.connection import Connection
    from sockd.stream.entry import Entry
    from sockd.stream.refusal import Tarpit


STALLED = 1.0
"""Seconds of silence after which a stream on its way in that has begun to speak makes room for another."""

GOLDEN = 0.618033988749895
"""Multiples of it, without their whole part, lie evenly between 0 and 1, however many there are."""


@dataclass(frozen=True, slots=True)
class Drain:
    """When those are closed that have nothing to finish, once the end is near.

    Attributes:
        idle: seconds on which nothing has moved by then.
        begun: when the end has come near.
        spread: seconds over which they are closed, one after the other, as their peers all come back.
    """

    idle: float
    begun: float
    spread: float

    def wait(self, number: int, quiet: float, now: float) -> float:
        """Seconds until a connection of this number is closed that has been quiet for so long."""
        return max(self.idle - quiet, self.begun + self.spread * (number * GOLDEN % 1.0) - now)


class Connections:
    """Keeps track of every open connection, whichever listener it came by.

    Args:
        limits: the service's deadlines and buffers.
        admission: who may come in.
        events: told about everything that happens.
        deadlines: where connections wait.
        clock: its seconds should be monotonic.
        unread: the output that peers leave unread, of all services.
        emptied: called when the last connection is gone, once the end is near.
    """

    __slots__ = (
        "_drain",
        "_emptied",
        "_ids",
        "_open",
        "admission",
        "clock",
        "deadlines",
        "entries",
        "events",
        "first_end",
        "handshakes",
        "heir",
        "limits",
        "lingering",
        "pace",
        "room",
        "seconds",
        "silent",
        "tarpits",
        "unread",
    )

    def __init__(
        self,
        limits: Limits,
        admission: Admission,
        events: ServiceEvents,
        deadlines: Deadlines,
        clock: IReactorTime,
        unread: Unread,
        emptied: Callable[[], None],
    ) -> None:
        self.limits = limits
        self.admission = admission
        self.room: WaitingRoom | None = None  # where those wait who find it full, if they are to wait
        self.heir: Connections | None = None  # of the service that has taken the place of this one
        self.entries: dict[Entry, float] = {}  # on their way in, by when they were last heard of
        self.silent: dict[Entry, None] = {}  # of these, who have said nothing, in the order of coming
        self.handshakes = Handshakes(clock, limits.handshake_rate)
        self.tarpits: set[Tarpit] = set()
        self.lingering = Lingering(deadlines, clock, self._look)
        self.events = events
        self.deadlines = deadlines
        self.clock = clock
        self.seconds = clock.seconds
        self.unread = unread
        self.pace = Pace(clock)
        self._emptied = emptied
        self._open: set[Connection] = set()
        self._ids = 0
        self._drain: Drain | None = None  # once the end is near
        self.first_end: float | None = self._first_end()  # the soonest deadline of a new connection

    def __len__(self) -> int:
        return len(self._open) + len(self.entries)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._open

    def next_id(self) -> int:
        """A number that no other connection of the service has had."""
        self._ids += 1
        return self._ids

    def heard(self, entry: Entry, *, silent: bool = False) -> None:
        """Note that a stream on its way in has come, or has sent something."""
        self.entries.pop(entry, None)
        self.entries[entry] = self.seconds()
        if silent:
            self.silent[entry] = None
        else:
            self.silent.pop(entry, None)

    def make_room(self, *, shaking: bool = False) -> bool:
        """Close the stream on its way in that has been silent for longest; False if all of them speak.

        Args:
            shaking: whether it must be one whose TLS handshake is not complete.
        """
        longest = next((entry for entry in self.silent if entry.is_shaking or not shaking), None)
        if longest is None:
            longest = next(iter(self.entries), None)
            if longest is None or self.seconds() - self.entries[longest] < STALLED:
                return False
            if shaking and not longest.is_shaking:
                return False
        longest.make_room()
        return True

    def add(self, connection: Connection) -> None:
        """It is open."""
        self._open.add(connection)

    def remove(self, connection: Connection) -> None:
        """It is gone."""
        self._open.discard(connection)
        self.leave(connection.host)

    def leave(self, host: str | None) -> None:
        """Give back the place that was held for `host`."""
        self.admission.release(host)
        self._freed()
        if self._drain is not None:
            self._look()

    def _freed(self) -> None:
        """Tell those who wait for a place that there may be one."""
        if self.room is not None:
            self.room.look()
        elif self.heir is not None:
            self.heir._freed()

    def _look(self) -> None:
        """Tell that the last one is gone, if the end is near."""
        if self._drain is not None and not self.busy:
            self._emptied()

    @property
    def busy(self) -> bool:
        """Whether any is open, on its way in, or lingers."""
        return bool(len(self) or len(self.lingering))

    def _first_end(self) -> float | None:
        limits = self.limits
        ends = (self._idle(), limits.lifetime, limits.first_message_timeout)
        return min((end for end in ends if end is not None), default=None)

    def _idle(self) -> float | None:
        """The shortest silence that may be the end of a connection."""
        idle, drain = self.limits.idle_timeout, self._drain
        return idle if drain is None else min(drain.idle, idle or drain.idle)

    def soonest_end(
        self, number: int, age: float, quiet_for: Callable[[], float], *, awaits_message: bool
    ) -> tuple[float, str]:
        """When the first deadline of a connection is, and which; `(inf, "")` if it has none.

        Args:
            number: its own, from `next_id`.
            age: seconds since it was opened.
            quiet_for: tells the seconds since data last moved; may cost a system call.
            awaits_message: whether its first message is not complete yet.
        """
        limits, ends = self.limits, [(inf, "")]
        if limits.lifetime is not None:
            ends.append((limits.lifetime - age, "lifetime"))
        if awaits_message and limits.first_message_timeout is not None:
            ends.append((limits.first_message_timeout - age, "first message"))
        if (idle := self._idle()) is not None:
            quiet = quiet_for() if age >= idle else 0.0
            if limits.idle_timeout is not None:
                ends.append((limits.idle_timeout - quiet, "idle"))
            if self._drain is not None:
                ends.append((self._drain.wait(number, quiet, self.seconds()), "idle"))
        return min(ends)

    def change(self, limits: Limits) -> None:
        """Other limits hold from now on, for those that are open too."""
        self.limits = limits
        self.first_end = self._first_end()
        self.handshakes.change(limits.handshake_rate)
        if self.room is not None:
            self.room.look()
        for connection in list(self._open):
            connection.limits_changed()

    def drain(self, idle: float, spread: float) -> None:
        """The end is near: those are closed that have been idle for so many seconds, each in its turn.

        Args:
            idle: seconds on which nothing has moved.
            spread: seconds over which the turns are spread.
        """
        self._drain = Drain(idle, self.seconds(), spread)
        if self.room is not None:
            self.room.cut()
            self.room = None
        for tarpit in list(self.tarpits):
            tarpit.cut()
        self.lingering.hurry()
        self.first_end = self._first_end()
        for connection in list(self._open):
            connection.check_deadlines()

    def cut(self, reason: str) -> int:
        """Abort what is open; returns how many."""
        connections, entries = list(self._open), list(self.entries)
        for connection in connections:
            connection.cut(reason)
        for entry in entries:
            entry.cut()
        self.lingering.cut()
        return len(connections) + len(entries)
