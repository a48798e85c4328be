"""Context that all connections of one service share: limits, events, time, and bounds over all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from sockd.config import Limits
from sockd.sockets.deadlines import Deadlines
from sockd.sockets.linger import Lingering
from sockd.stream.pace import Pace
from sockd.stream.unread import Unread
from sockd.telemetry.events import ServiceEvents

GOLDEN = 0.618033988749895
"""Golden ratio: its multiples, without their whole part, lie evenly between 0 and 1, however many there
are."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Times at which connections with nothing to finish are closed, once their service ends.

    Attributes:
        idle: seconds on which nothing has moved by then.
        begun: when the service began to end.
        spread: seconds over which they are closed, one after the other, as their peers all come back.
    """

    idle: float
    begun: float
    spread: float

    def wait(self, number: int, quiet: float, now: float) -> float:
        """Return the seconds until a connection of this number is closed that has been quiet for so long."""
        return max(self.idle - quiet, self.begun + self.spread * (number * GOLDEN % 1.0) - now)


class Registry(Protocol):
    """Set of open connections, as one of them sees it."""

    def add(self, connection: Any, /) -> None:
        """Add a connection that opens."""

    def remove(self, connection: Any, /) -> None:
        """Remove a connection that is over, and give back its place."""


class StreamContext:
    """Context of a service for its connections: what they need, and no more.

    Args:
        limits: the service's deadlines and buffers.
        events: told about each opened and closed connection and each fault of the plugin.
        deadlines: where connections wait for theirs.
        clock: its seconds should be monotonic.
        unread: the output that peers leave unread, of all services.
        lingering: takes the sockets whose connections are over and whose peers have not ended.
        registry: told about each connection that opens and that is over.

    Attributes:
        first_end: seconds until the first deadline of a new connection; None if it has none.
    """

    __slots__ = (
        *("_drain", "_ids", "deadlines", "events", "first_end", "limits", "lingering", "pace"),
        *("registry", "seconds", "unread"),
    )

    def __init__(
        self,
        limits: Limits,
        events: ServiceEvents,
        deadlines: Deadlines,
        clock: IReactorTime,
        unread: Unread,
        lingering: Lingering,
        registry: Registry,
    ) -> None:
        self.limits = limits
        self.events = events
        self.deadlines = deadlines
        self.seconds = clock.seconds
        self.unread = unread
        self.lingering = lingering
        self.registry = registry
        self.pace = Pace(clock)
        self._ids = 0
        self._drain: Drain | None = None  # once the service ends
        self.first_end = self._first_end()

    def next_id(self) -> int:
        """Return a number that no other connection of the service has had."""
        self._ids += 1
        return self._ids

    def change(self, limits: Limits) -> None:
        """Set other limits; connections that are open look at them when they are told to."""
        self.limits = limits
        self.first_end = self._first_end()

    def drain(self, idle: float, spread: float) -> None:
        """Close idle connections from now on. Arguments as `Drain` has them, in seconds."""
        self._drain = Drain(idle, self.seconds(), spread)
        self.lingering.hurry()
        self.first_end = self._first_end()

    def _first_end(self) -> float | None:
        limits = self.limits
        ends = (self._idle(), limits.lifetime, limits.first_message_timeout)
        return min((end for end in ends if end is not None), default=None)

    def _idle(self) -> float | None:
        """Return the shortest silence that may be the end of a connection."""
        idle, drain = self.limits.idle_timeout, self._drain
        return idle if drain is None else min(drain.idle, idle or drain.idle)

    def soonest_end(
        self, number: int, age: float, quiet_for: Callable[[], float], *, awaits_message: bool
    ) -> tuple[float, str]:
        """Return the seconds to the first deadline of a connection and its reason, or `(inf, "")`.

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
