"""The open connections of one service, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sockd.config import Limits
from sockd.deadlines import Deadlines
from sockd.limits import Admission
from sockd.telemetry.events import ServiceEvents

if TYPE_CHECKING:
    from sockd.connection import Connection


class Connections:
    """Keeps track of every open connection, whichever listener it came by.

    Args:
        limits: the service's deadlines and buffers.
        admission: who may still come in.
        events: told about everything that happens.
        deadlines: where connections wait.
        seconds: a monotonic clock.
        emptied: called when the last connection is gone, once the end is near.
    """

    __slots__ = (
        "_draining",
        "_emptied",
        "_ids",
        "_open",
        "admission",
        "deadlines",
        "events",
        "idle_timeout",
        "limits",
        "seconds",
    )

    def __init__(
        self,
        limits: Limits,
        admission: Admission,
        events: ServiceEvents,
        deadlines: Deadlines,
        seconds: Callable[[], float],
        emptied: Callable[[], None],
    ) -> None:
        self.limits = limits
        self.idle_timeout = limits.idle_timeout
        self.admission = admission
        self.events = events
        self.deadlines = deadlines
        self.seconds = seconds
        self._emptied = emptied
        self._open: set[Connection] = set()
        self._ids = 0
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

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
        """It is gone; give back what it held."""
        self._open.discard(connection)
        self.admission.release()
        if self._draining and not self._open:
            self._emptied()

    def drain(self, idle_timeout: float) -> None:
        """The end is near: those that have been idle for so many seconds are closed from now on."""
        self._draining = True
        self.idle_timeout = min(idle_timeout, self.idle_timeout or idle_timeout)
        for connection in list(self._open):
            connection.check_idle()

    def cut(self, reason: str) -> int:
        """Abort what is open; returns how many."""
        connections = list(self._open)
        for connection in connections:
            connection.cut(reason)
        return len(connections)
