"""Open connections of one service, and the places that they and those on their way in take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from sockd.config import Limits
from sockd.limits import Admission
from sockd.sockets.deadlines import Deadlines
from sockd.sockets.linger import Lingering
from sockd.stream.connection import Connection
from sockd.stream.context import StreamContext
from sockd.stream.handshakes import Handshakes
from sockd.stream.unread import Unread
from sockd.stream.waiting import WaitingRoom
from sockd.telemetry.events import ServiceEvents

STALLED = 1.0
"""Seconds of silence after which a stream on its way in that has begun to speak makes room for another."""


class Newcomer(Protocol):
    """Stream that has a place and is on its way to its connection."""

    @property
    def is_shaking(self) -> bool:
        """Return whether its TLS handshake is not complete."""

    def make_room(self) -> None:
        """End, as another stream needs the place."""

    def cut(self) -> None:
        """End, as the service ends."""


class Stuck(Protocol):
    """Peer in the tarpit."""

    def cut(self) -> None:
        """Let it go at once."""


class OpenConnections:
    """Open connections of a service, whichever listener they came by, and the streams on their way in.

    Args:
        limits: the service's deadlines and buffers.
        admission: who may come in.
        events: told about everything that happens.
        deadlines: where connections wait.
        clock: its seconds should be monotonic.
        unread: the output that peers leave unread, of all services.
        emptied: called when the last connection is gone, once the service ends.
        handshakes: TLS handshakes that go on from a former service; None to begin anew.

    Attributes:
        context: what each connection gets.
        room: where peers wait that find the service full; None if they are not to wait.
        tarpits: peers that are held without an answer.
    """

    __slots__ = (
        *("_drains", "_emptied", "_heir", "_newcomers", "_open", "_silent", "admission", "context", "events"),
        *("handshakes", "room", "tarpits"),
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
        handshakes: Handshakes | None = None,
    ) -> None:
        self.context = StreamContext(
            limits, events, deadlines, clock, unread, Lingering(deadlines, clock, self._look), self
        )
        self.admission = admission
        self.events = events
        self.handshakes = handshakes or Handshakes(clock, limits.handshake_rate)
        self.room: WaitingRoom | None = None
        self.tarpits: set[Stuck] = set()
        self._heir: OpenConnections | None = None  # of the service that has taken the place of this one
        self._newcomers: dict[Newcomer, float] = {}  # by when they were last heard of
        self._silent: dict[Newcomer, None] = {}  # of these, who have said nothing, in the order of coming
        self._emptied = emptied
        self._open: set[Connection] = set()
        self._drains = False

    def __len__(self) -> int:
        return len(self._open) + len(self._newcomers)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._open

    def take_place(self, host: str | None) -> str | None:
        """Take a place for `host`; return None, or the limit for which there is none."""
        reason = self.admission.admit(host)
        if reason == "max_connections" and self.room is None and self.make_room():
            reason = self.admission.admit(host)
        if not reason and self.room is not None:
            self.room.look()
        return reason

    def heard(self, newcomer: Newcomer, *, silent: bool = False) -> None:
        """Note that a stream on its way in has come, or has sent something."""
        self._newcomers.pop(newcomer, None)
        self._newcomers[newcomer] = self.context.seconds()
        if silent:
            self._silent[newcomer] = None
        else:
            self._silent.pop(newcomer, None)

    def forget(self, newcomer: Newcomer) -> None:
        """Forget a stream that is on its way in no longer; its place is its connection's, or to be left."""
        self._newcomers.pop(newcomer, None)
        self._silent.pop(newcomer, None)

    def make_room(self, *, shaking: bool = False) -> bool:
        """Close the stream on its way in that has been silent for longest; False if all of them speak.

        Args:
            shaking: whether it must be one whose TLS handshake is not complete.
        """
        longest = next((each for each in self._silent if each.is_shaking or not shaking), None)
        if longest is None:
            longest = next(iter(self._newcomers), None)
            if longest is None or self.context.seconds() - self._newcomers[longest] < STALLED:
                return False
            if shaking and not longest.is_shaking:
                return False
        longest.make_room()
        return True

    def add(self, connection: Connection) -> None:
        """Add a connection that opens."""
        self._open.add(connection)

    def remove(self, connection: Connection) -> None:
        """Remove a connection that is over, and give back its place."""
        self._open.discard(connection)
        self.leave(connection.host)

    def leave(self, host: str | None) -> None:
        """Give back the place that was held for `host`."""
        self.admission.release(host)
        if self.room is not None:
            self.room.look()
        elif self._heir is not None:
            self._heir.place_is_free()
        if self._drains:
            self._look()

    def place_is_free(self) -> None:
        """Let in who waits, here or at the service that has taken the place of this one."""
        if self.room is not None:
            self.room.look()
        elif self._heir is not None:
            self._heir.place_is_free()

    def hand_places_to(self, heir: OpenConnections) -> None:
        """Tell another service's peers when places become free, as it has taken the place of this one."""
        self._heir = heir

    def let_wait(self, room: WaitingRoom | None) -> None:
        """Let peers that find the service full wait in `room`; with None, who waits is closed."""
        if self.room is not None and room is None:
            self.room.cut()
        self.room = room

    def _look(self) -> None:
        """Tell that the last one is gone, if the service ends."""
        if self._drains and not self.busy:
            self._emptied()

    @property
    def busy(self) -> bool:
        """Return whether any is open, on its way in, or lingers."""
        return bool(len(self) or len(self.context.lingering))

    def change(self, limits: Limits) -> None:
        """Set other limits, for connections that are open too."""
        self.context.change(limits)
        self.handshakes.change(limits.handshake_rate)
        if self.room is not None:
            self.room.look()
        for connection in list(self._open):
            connection.limits_changed()

    def drain(self, idle: float, spread: float) -> None:
        """Close idle connections, each in its turn, as the service ends.

        Args:
            idle: seconds on which nothing has moved.
            spread: seconds over which the turns are spread.
        """
        self._drains = True
        self.let_wait(None)
        for stuck in list(self.tarpits):
            stuck.cut()
        self.context.drain(idle, spread)
        for connection in list(self._open):
            connection.check_deadlines()

    def cut(self, reason: str) -> int:
        """Abort what is open; return how many connections that were."""
        connections, newcomers = list(self._open), list(self._newcomers)
        for connection in connections:
            connection.cut(reason)
        for newcomer in newcomers:
            newcomer.cut()
        self.context.lingering.close_all()
        return len(connections) + len(newcomers)
