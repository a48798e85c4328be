"""Closing without a reset: end our side, and drop what the peer still sends until it ends its side.

A socket that is closed while unread bytes are in it, or arrive later, is reset. A reset destroys what the
peer has not read yet: the answer (RFC 9112, 9.6). So our side ends first (shutdown(2)), and the socket is
closed when the peer has ended its side too, or after a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.sockets.deadlines import Deadlines
from sockd.sockets.transport import has_ended_writing, unsent_bytes

SILENT = 5.0
"""Seconds without a byte from the peer until the socket is closed."""

LONGEST = 30.0
"""Seconds until the socket is closed although the peer still sends."""

AT_THE_END = 1.0
"""Seconds that replace both once the service ends."""

MOST = 1000
"""Lingering sockets of a service; beyond that the oldest one is closed for the next."""

PAUSE = 0.1
"""Seconds between two reads from a peer that sends without end. With reads of 256,000 bytes and `LONGEST`
at most 77 MB are dropped, at a thousandth of what a core could read."""


class Lingering:
    """Lingering sockets of one service. They no longer count as its connections.

    Args:
        deadlines: of the process.
        clock: times the pauses between reads; its seconds should be monotonic.
        emptied: called when the last of them is closed.
    """

    __slots__ = ("_clock", "_deadlines", "_emptied", "_open", "_paused", "_timer", "longest", "silent")

    def __init__(
        self, deadlines: Deadlines, clock: IReactorTime, emptied: Callable[[], None] = lambda: None
    ) -> None:
        self._deadlines = deadlines
        self._clock = clock
        self._emptied = emptied
        self._open: dict[Linger, None] = {}  # in the order of arrival
        self._paused: set[Any] = set()
        self._timer: IDelayedCall | None = None
        self.silent, self.longest = SILENT, LONGEST

    def __len__(self) -> int:
        return len(self._open)

    def take(self, transport: Any) -> None:
        """End our side of a reactor's transport once everything is sent, and linger."""
        if len(self._open) >= MOST:
            next(iter(self._open)).close()
        linger = Linger(self, transport)
        self._open[linger] = None
        transport.protocol = linger
        if receive_directly := getattr(transport, "receive_directly", None):  # sockd's reactor has it
            receive_directly(linger.dataReceived)
        self.set_deadline(linger)
        if transport not in self._paused:
            transport.resumeProducing()
        if not has_ended_writing(transport):
            transport.loseWriteConnection()

    def pause_reading(self, transport: Any) -> None:
        """Pause a transport, and read from it again after `PAUSE`."""
        transport.pauseProducing()
        self._paused.add(transport)
        if self._timer is None:
            self._timer = self._clock.callLater(PAUSE, self._resume)

    def _resume(self) -> None:
        self._timer = None
        paused, self._paused = self._paused, set()
        for transport in paused:
            transport.resumeProducing()

    def set_deadline(self, linger: Linger) -> None:
        """Set the next deadline of a socket; close it if it has lingered for `longest`."""
        left = linger.since + self.longest - self._clock.seconds()
        if left <= 0:
            linger.close()
        else:
            self._deadlines.set(linger, min(self.silent, left))

    def seconds(self) -> float:
        """Return the present time."""
        return self._clock.seconds()

    def forget(self, linger: Linger) -> None:
        """Remove a socket that is closed."""
        self._deadlines.clear(linger)
        self._open.pop(linger, None)
        if not self._open:
            self._emptied()

    def hurry(self) -> None:
        """Shorten all waits to `AT_THE_END`, because the service ends."""
        self.silent = self.longest = AT_THE_END
        for linger in list(self._open):
            linger.since = self._clock.seconds()
            self.set_deadline(linger)

    def close_all(self) -> None:
        """Close all of them at once."""
        for linger in list(self._open):
            linger.close()


@implementer(IProtocol)
class Linger:
    """Protocol of a lingering socket. When the peer ends its side, the reactor closes the socket."""

    factory: Factory | None = None

    __slots__ = ("_heard", "_lingering", "since", "tick", "transport")

    def __init__(self, lingering: Lingering, transport: Any) -> None:
        self._lingering = lingering
        self.transport = transport
        self.since = lingering.seconds()
        self._heard = False  # since the last deadline
        self.tick = 0

    def makeConnection(self, transport: Any) -> None:
        """Do nothing; never called, because the stream was open before."""

    def connectionMade(self) -> None:
        """Do nothing; never called."""

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002  # as IProtocol has it
        """Drop what the peer still sends."""
        self._heard = True
        self._lingering.pause_reading(self.transport)

    def deadline_passed(self) -> None:
        """Close the socket, unless the peer still sends."""
        if self._heard:
            self._heard = False
            self._lingering.set_deadline(self)
        else:
            self.close()

    def close(self) -> None:
        """Close the socket at once; a peer that has not taken the answer by now does not get it."""
        if unsent_bytes(self.transport):
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IProtocol has it
        """Forget the socket: both sides have ended, or the peer has reset it."""
        self._lingering.forget(self)

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return type(self).__name__
