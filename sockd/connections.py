"""The open connections of one service, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from sockd.config import Limits
from sockd.deadlines import Deadlines
from sockd.handshakes import Handshakes
from sockd.limits import Admission
from sockd.output import Unread
from sockd.pace import Pace
from sockd.telemetry.events import ServiceEvents
from sockd.waiting import WaitingRoom

if TYPE_CHECKING:
    from sockd.connection import Connection
    from sockd.entry import Entry
    from sockd.refusal import Tarpit


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
        "_draining",
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
        "idle_timeout",
        "limits",
        "pace",
        "room",
        "seconds",
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
        self.idle_timeout = limits.idle_timeout
        self.admission = admission
        self.room: WaitingRoom | None = None  # where those wait who find it full, if they are to wait
        self.entries: set[Entry] = set()  # on their way in
        self.handshakes = Handshakes(clock, limits.handshake_rate)
        self.tarpits: set[Tarpit] = set()
        self.events = events
        self.deadlines = deadlines
        self.clock = clock
        self.seconds = clock.seconds
        self.unread = unread
        self.pace = Pace(clock)
        self._emptied = emptied
        self._open: set[Connection] = set()
        self._ids = 0
        self.first_end: float | None = self._first_end()  # the soonest deadline of a new connection
        self._draining = False

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
        if self.room is not None:
            self.room.look()
        if self._draining and not len(self):
            self._emptied()

    def _first_end(self) -> float | None:
        ends = (self.idle_timeout, self.limits.lifetime, self.limits.first_message_timeout)
        return min((end for end in ends if end is not None), default=None)

    def soonest_end(
        self, age: float, quiet_for: Callable[[], float], *, awaits_message: bool
    ) -> tuple[float, str]:
        """When the first deadline of a connection is, and which; `(inf, "")` if it has none.

        Args:
            age: seconds since it was opened.
            quiet_for: tells the seconds since data last moved; may cost a system call.
            awaits_message: whether its first message is not complete yet.
        """
        limits, ends = self.limits, [(inf, "")]
        if limits.lifetime is not None:
            ends.append((limits.lifetime - age, "lifetime"))
        if awaits_message and limits.first_message_timeout is not None:
            ends.append((limits.first_message_timeout - age, "first message"))
        if self.idle_timeout is not None:
            quiet = quiet_for() if age >= self.idle_timeout else 0.0
            ends.append((self.idle_timeout - quiet, "idle"))
        return min(ends)

    def change(self, limits: Limits) -> None:
        """Other limits hold from now on, for those that are open too."""
        self.limits = limits
        if not self._draining:
            self.idle_timeout = limits.idle_timeout
        self.first_end = self._first_end()
        self.handshakes.change(limits.handshake_rate)
        if self.room is not None:
            self.room.look()
        for connection in list(self._open):
            connection.limits_changed()

    def drain(self, idle_timeout: float) -> None:
        """The end is near: those that have been idle for so many seconds are closed from now on."""
        self._draining = True
        if self.room is not None:
            self.room.cut()
        for tarpit in list(self.tarpits):
            tarpit.cut()
        self.idle_timeout = min(idle_timeout, self.idle_timeout or idle_timeout)
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
        return len(connections) + len(entries)
