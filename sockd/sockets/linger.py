"""Closing without a reset: end our side, and drop what the peer still sends until it ends its own.

A socket that is closed while something unread has come, or comes afterwards, is reset, and a reset destroys
what the peer has not read yet: the answer (RFC 9112, 9.6). So our side is ended first (shutdown(2)), and the
socket is closed when the peer has ended too, or after a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.sockets.deadlines import Deadlines
from sockd.sockets.transport import unsent_bytes

SILENT = 5.0
"""Seconds without a byte from the peer until the socket is closed."""

LONGEST = 30.0
"""Seconds until it is closed although the peer still sends."""

AT_THE_END = 1.0
"""Seconds for both, once the service ends."""

MOST = 1000
"""Sockets of a service that linger; the one that has lingered for longest is closed for the next."""

PAUSE = 0.1
"""Seconds between two reads from one that sends without end. With a read of 256,000 bytes and `LONGEST` it
bounds what is dropped to 75 MB, at a thousandth of what a core could read."""


class Lingering:
    """The lingering sockets of one service. They take no place in it any more.

    Args:
        deadlines: where they wait.
        clock: for the pauses between reads; its seconds should be monotonic.
        emptied: called when the last of them is gone.
    """

    __slots__ = ("_clock", "_deadlines", "_emptied", "_open", "_resting", "_timer", "longest", "silent")

    def __init__(
        self, deadlines: Deadlines, clock: IReactorTime, emptied: Callable[[], None] = lambda: None
    ) -> None:
        self._deadlines = deadlines
        self._clock = clock
        self._emptied = emptied
        self._open: dict[Linger, None] = {}  # in the order in which they came
        self._resting: set[Any] = set()
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
        if receive_directly := getattr(transport, "receive_directly", None):  # of sockd's reactor
            receive_directly(linger.dataReceived)
        self.wait(linger)
        if transport not in self._resting:
            transport.resumeProducing()
        transport.loseWriteConnection()

    def rest(self, transport: Any) -> None:
        """Pause a transport, and read from it again after `PAUSE`."""
        transport.pauseProducing()
        self._resting.add(transport)
        if self._timer is None:
            self._timer = self._clock.callLater(PAUSE, self._read_on)

    def _read_on(self) -> None:
        self._timer = None
        resting, self._resting = self._resting, set()
        for transport in resting:
            transport.resumeProducing()

    def wait(self, linger: Linger) -> None:
        """Look at it again when it may have been silent for too long, or has been there for too long."""
        left = linger.since + self.longest - self._clock.seconds()
        if left <= 0:
            linger.close()
        else:
            self._deadlines.set(linger, min(self.silent, left))

    def seconds(self) -> float:
        """The present time."""
        return self._clock.seconds()

    def forget(self, linger: Linger) -> None:
        """Remove a socket that is closed."""
        self._deadlines.clear(linger)
        self._open.pop(linger, None)
        if not self._open:
            self._emptied()

    def hurry(self) -> None:
        """The service ends: nobody lingers for long any more."""
        self.silent = self.longest = AT_THE_END
        for linger in list(self._open):
            linger.since = self._clock.seconds()
            self.wait(linger)

    def cut(self) -> None:
        """Close them all at once."""
        for linger in list(self._open):
            linger.close()


@implementer(IProtocol)
class Linger:
    """A socket that lingers. When its peer ends, the reactor closes it."""

    factory: Factory | None = None

    __slots__ = ("_heard", "_lingering", "since", "tick", "transport")

    def __init__(self, lingering: Lingering, transport: Any) -> None:
        self._lingering = lingering
        self.transport = transport
        self.since = lingering.seconds()
        self._heard = False  # since it was last looked at
        self.tick = 0

    def makeConnection(self, transport: Any) -> None:
        """Never called: it was open before."""

    def connectionMade(self) -> None:
        """Never called, as above."""

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002  # as IProtocol has it
        """Drop what the peer still sends."""
        self._heard = True
        self._lingering.rest(self.transport)

    def deadline_passed(self) -> None:
        """Close it, unless the peer still sends."""
        if self._heard:
            self._heard = False
            self._lingering.wait(self)
        else:
            self.close()

    def close(self) -> None:
        """Close it at once; a peer that has not taken the answer by now does not get it."""
        if unsent_bytes(self.transport):
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IProtocol has it
        """Both sides have ended, or the peer has reset it."""
        self._lingering.forget(self)

    def logPrefix(self) -> str:
        """The name for Twisted's log."""
        return type(self).__name__
