"""One worker more than serve: it has loaded everything, and waits for a place to become empty.

An interpreter with Twisted and the plugins takes half a second to start, on a busy machine more than one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from sockd.control.words import Refused
from sockd.ipc.calls import NoAnswer
from sockd.supervisor.member import Member, Order
from sockd.telemetry.supervision import SupervisorEvents
from sockd.text import describe_os_error

NO_SLOT = -1
"""Of a worker that has no place yet."""

RETRY = (0.0, 1.0, 5.0, 30.0)
"""Seconds until another one is started where one could not load everything, by how often in a row."""


class Spare:
    """Keeps it ready.

    Args:
        reactor: the supervisor's.
        launch: starts a worker's process.
        order: what it is to load.
        events: told when there is none for longer.
    """

    def __init__(
        self, reactor: Any, launch: Callable[[], Member], order: Callable[[], Order], events: SupervisorEvents
    ) -> None:
        self.member: Member | None = None
        self._reactor = reactor
        self._launch = launch
        self._order = order
        self._events = events
        self._failures = 0
        self._timer: IDelayedCall | None = None

    @property
    def ready(self) -> bool:
        """Whether one waits."""
        return self.member is not None and self.member.state == "spare"

    def prepare(self) -> None:
        """Start one, if there is none."""
        self._forget_timer()
        if self.member is not None:
            return
        try:
            self.member = self._launch()
        except OSError as error:
            self._again(describe_os_error(error))
            return
        Deferred.fromCoroutine(self._load(self.member))

    async def _load(self, member: Member) -> None:
        try:
            await member.prepare(self._order())
        except (Refused, NoAnswer) as error:
            member.fault = str(error)
            member.kill()
        else:
            self._failures = 0

    def take(self) -> Member | None:
        """The one that waits, for a place; None if it is not ready."""
        if not self.ready:
            return None
        member, self.member = self.member, None
        return member

    def give_back(self, member: Member) -> None:
        """Keep one that was taken and has got no place, unless there is another one already."""
        if self.member is None and member.state == "spare":
            self._forget_timer()
            self.member = member
        else:
            member.kill()

    def ended(self, member: Member, how: str) -> None:
        """It is gone; start another one."""
        self.member = None
        self._again(member.fault or how)

    def drop(self) -> Member | None:
        """Have none any more; returns the one whose end is still to come."""
        self._forget_timer()
        member, self.member = self.member, None
        if member is not None:
            member.kill()
        return member

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
