"""Layer that makes the TLS handshake of each stream."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.stream.layers import Arrival
from sockd.tls.credentials import Credentials
from sockd.tls.session import is_whole
from sockd.tls.stream import TLSStream

ENOUGH = 16 * 1024
"""Bytes of what a peer says first, upon which no more is read until its handshake begins."""


class TLS:
    """Layer of a listener that speaks TLS.

    Args:
        credentials: what its peers are shown.
    """

    encrypts = True

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def enter(self, arrival: Arrival) -> IProtocol | None:
        """Return what makes the handshake."""
        return TLSHandshake(arrival, self._credentials)


@implementer(IProtocol)
class TLSHandshake:
    """Protocol of one stream until its handshake begins; counted as unfinished until the handshake ends.

    Args:
        arrival: the stream.
        credentials: what the peer is shown.

    Attributes:
        is_shaking: whether it is counted among the unfinished handshakes.
    """

    factory: Factory | None = None

    __slots__ = ("_arrival", "_credentials", "_held", "_transport", "is_shaking")

    def __init__(self, arrival: Arrival, credentials: Credentials) -> None:
        self._arrival = arrival
        self._credentials = credentials
        self._held = b""
        self._transport: Any = None
        self.is_shaking = False

    def makeConnection(self, transport: Any) -> None:
        """Wait for what the peer says first, for `handshake_timeout`, if there is room for one more."""
        arrival, connections = self._arrival, self._arrival.connections
        limits = connections.context.limits
        self._transport = transport
        arrival.begin(self, transport)
        full = connections.handshakes.unfinished >= limits.max_handshakes
        if full and not connections.make_room(shaking=True):
            arrival.refuse("max_handshakes")
            return
        connections.handshakes.begin()
        self.is_shaking = True
        arrival.wait(limits.handshake_timeout)

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` is called instead."""

    def dataReceived(self, data: bytes) -> None:
        """Collect what the peer says first; once that is whole, the handshake begins when it is its turn."""
        if not self.is_shaking:
            return
        self._held += data
        self._arrival.heard()
        enough = len(self._held) > ENOUGH
        if enough:
            self._transport.pauseProducing()
        if enough or is_whole(self._held):
            self._arrival.connections.handshakes.join(self)

    def shake(self) -> None:
        """Begin the handshake, as it is its turn."""
        if not self.is_shaking:
            return
        arrival, transport = self._arrival, self._transport
        held, self._held = self._held, b""
        arrival.heard()
        close = arrival.connections.context.lingering.take
        stream = TLSStream(self._credentials.connection(), arrival.pass_on, arrival.fail, close)
        transport.protocol = stream
        stream.makeConnection(transport)
        if len(held) > ENOUGH:
            transport.resumeProducing()
        stream.dataReceived(held)

    def deadline_passed(self) -> None:
        """Refuse a stream whose handshake takes too long."""
        self._arrival.refuse("handshake timeout")

    def leave(self, failure: str) -> None:
        """Count the handshake as complete, or as failed for this reason."""
        if self.is_shaking:
            self.is_shaking = False
            self._arrival.connections.events.handshake(failure)
            self._arrival.connections.handshakes.end(self)

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IProtocol has it
        """Give back the place of a peer that has gone before it came in."""
        self._arrival.fail("peer closed")

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return type(self).__name__
