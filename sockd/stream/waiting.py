"""Waiting for a place in a full service: of accepted connections here, of the others in the kernel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.limits import Admission

TOTALS = frozenset({"max_connections", "connection_rate"})
"""Limits that pass by themselves, for which a peer may wait; the others are its own doing."""


class WaitingRoom:
    """Peers of one service that were accepted when it was full; while there are any, nobody else is accepted.

    They are never more than what a reactor accepts at once.

    Args:
        admission: gives the places.
        clock: tells when a rate has room again.
        hold: called with whether accepting has to pause.
    """

    __slots__ = ("_admission", "_clock", "_ended", "_hold", "_holding", "_looking", "_timer", "_waiting")

    def __init__(self, admission: Admission, clock: IReactorTime, hold: Callable[[bool], None]) -> None:
        self._admission = admission
        self._clock = clock
        self._hold = hold
        self._holding = False
        self._looking = False
        self._ended = False
        self._waiting: deque[Waiting] = deque()
        self._timer: IDelayedCall | None = None

    def join(self, waiting: Waiting) -> None:
        """Let a stream wait."""
        if self._ended:
            waiting.cut()
            return
        self._waiting.append(waiting)
        self.look()

    def leave(self, waiting: Waiting) -> None:
        """Forget a stream whose peer has gone."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            self.look()

    def look(self) -> None:
        """Let in who waits, as far as there are places, and pause accepting while there are none."""
        if self._looking or self._ended:
            return
        self._looking = True  # who enters takes a place, and that is not for the next one to enter first
        try:
            # Asked once: a moment later the rate may have room, and then nothing would end the pause.
            admission = self._admission
            while not (wait := admission.seconds_until_room()) and self._waiting and admission.has_room():
                self._waiting.popleft().enter()
        finally:
            self._looking = False
        full = bool(wait or self._waiting) or not self._admission.has_room()
        if wait and self._timer is None:
            self._timer = self._clock.callLater(wait, self._look_again)
        if full != self._holding:
            self._holding = full
            self._hold(full)

    def _look_again(self) -> None:
        self._timer = None
        self.look()

    def cut(self) -> None:
        """Abort who waits; what becomes of accepting is for others to say."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            self._waiting.popleft().cut()


@implementer(IProtocol)
class Waiting:
    """Protocol of one stream that waits; nothing is read of it.

    Args:
        room: where it waits.
        build: judges it anew when there is a place.
    """

    factory: Factory | None = None

    __slots__ = ("_build", "_room", "_transport")

    def __init__(self, room: WaitingRoom, build: Callable[[], IProtocol | None]) -> None:
        self._room = room
        self._build = build
        self._transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        """Stop reading, and wait."""
        self._transport = transport
        transport.pauseProducing()
        self._room.join(self)

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` is called instead."""

    def dataReceived(self, data: bytes) -> None:
        """Drop what came before the pause."""

    def enter(self) -> None:
        """Go on, as there is a place."""
        protocol, transport = self._build(), self._transport
        if protocol is None:
            transport.loseConnection()
        else:
            transport.protocol = protocol
            transport.resumeProducing()
            protocol.makeConnection(transport)

    def cut(self) -> None:
        """Abort, as the service ends."""
        self._transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IProtocol has it
        """Stop waiting, as the peer has gone."""
        self._room.leave(self)

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return type(self).__name__
