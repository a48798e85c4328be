"""The way of a stream from the reactor to its connection: a place, the PROXY header, the TLS handshake.

Only then is a protocol of the plugin built, so that it never meets a peer that it should not, and knows who
it is from the first moment.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.stream import proxy
from sockd.stream.connection import Connection
from sockd.stream.open_connections import OpenConnections
from sockd.tls.credentials import Credentials
from sockd.tls.session import is_whole
from sockd.tls.stream import TLSStream

ENOUGH = 16 * 1024
"""Bytes of what a peer says first, upon which no more is read until its handshake begins."""


class Door(Protocol):
    """The listener, as a stream on its way in sees it."""

    connections: OpenConnections
    credentials: Credentials | None

    def build(self, address: IAddress, host: str | None) -> Connection | None:
        """The connection of a peer that holds a place for `host`; None, and no place, if there is none."""

    def turn_away(self, address: IAddress, reason: str) -> IProtocol | None:
        """What becomes of a peer that is over a limit; None: it is closed."""


@implementer(IProtocol)
class Entry:
    """One stream on its way in: the reactor's protocol until its connection takes the place.

    Args:
        door: the listener that it came by.
        address: the peer's, as the socket has it.
        host: what it is counted for; None while that is not known.
        header: whether the PROXY header comes first: "require", "allow", or "" where it does not.
    """

    factory: Factory | None = None

    __slots__ = ("_address", "_door", "_header", "_held", "_host", "_left", "_shaking", "tick", "transport")

    def __init__(self, door: Door, address: IAddress, host: str | None, header: str) -> None:
        self._door = door
        self._address = address
        self._host = host
        self._header = header
        self._held = b""
        self._shaking: Credentials | None = None  # counted among the unfinished handshakes, with these
        self._left = False  # to its connection, or for good
        self.transport: Any = None
        self.tick = 0

    def makeConnection(self, transport: Any) -> None:
        """The reactor's side is open."""
        connections = self._door.connections
        self.transport = transport
        connections.heard(self, silent=True)
        if self._header:
            connections.context.deadlines.set(self, connections.context.limits.header_timeout)
        else:
            self._go_in()

    def connectionMade(self) -> None:
        """Never called: `makeConnection` is."""

    def dataReceived(self, data: bytes) -> None:
        """A piece of the PROXY header and what follows it, or the begin of the handshake."""
        self._held += data
        self._door.connections.heard(self)
        if self._shaking is not None:
            self._speak()
            return
        try:
            if self._header == "allow" and proxy.looks_like_header(self._held) is False:
                self._identify(self._address, 0)
            elif (header := proxy.parse(self._held)) is not None:
                self._identify(header.source, header.length)
        except proxy.HeaderFault as fault:
            self._refuse(fault.reason)

    def _identify(self, source: IAddress | None, length: int) -> None:
        """The true client is known, unless the proxy speaks for itself."""
        connections = self._door.connections
        if source is not None:
            self._address = source
            host = getattr(source, "host", None)
            reason = connections.admission.identify(host) if host is not None else None
            if reason:
                self._turn_away(reason)
                return
            self._host = host
        connections.context.deadlines.clear(self)
        rest, self._held = self._held[length:], b""
        self._go_in(rest)

    def _go_in(self, rest: bytes = b"") -> None:
        """The peer is known; what remains is the handshake, if there is one."""
        connections, credentials = self._door.connections, self._door.credentials
        if credentials is None:
            self._give_way(self.transport, rest)
            return
        full = connections.handshakes.unfinished >= connections.context.limits.max_handshakes
        if full and not connections.make_room(shaking=True):
            self._refuse("max_handshakes")
            return
        connections.handshakes.begin()
        self._shaking = credentials
        connections.context.deadlines.set(self, connections.context.limits.handshake_timeout)
        self._held = rest
        if rest:
            self._speak()

    def _speak(self) -> None:
        """The peer has said something: once that is whole, the handshake can begin when it is its turn."""
        enough = len(self._held) > ENOUGH
        if enough:
            self.transport.pauseProducing()
        if enough or is_whole(self._held):
            self._door.connections.handshakes.join(self)

    def shake(self) -> None:
        """It is its turn."""
        if self._shaking is None:
            return
        held, self._held = self._held, b""
        self._door.connections.heard(self)
        close = self._door.connections.context.lingering.take
        stream = TLSStream(self._shaking.connection(), self._give_way, self._failed, close)
        self.transport.protocol = stream
        stream.makeConnection(self.transport)
        if len(held) > ENOUGH:
            self.transport.resumeProducing()
        stream.dataReceived(held)

    def _give_way(self, transport: Any, rest: bytes = b"") -> None:
        """Let the connection take the place, if the plugin wants the peer."""
        if self._shaking is not None:
            self._door.connections.events.handshake()
        self._leave()
        connection = self._door.build(self._address, self._host)
        if connection is None:
            transport.abortConnection()  # under TLS a close would wait for the peer's, for ever
            return
        transport.protocol = connection
        connection.makeConnection(transport)
        if rest and connection.may_read():
            connection.dataReceived(rest)
        elif rest:
            connection.context.pace.put_off(connection, rest)

    def _turn_away(self, reason: str) -> None:
        """Its true client is over a limit."""
        transport = self.transport
        self._let_go_of_place()
        other = self._door.turn_away(self._address, reason)
        if other is None:
            transport.loseConnection()
        else:
            transport.protocol = other
            other.makeConnection(transport)

    def _refuse(self, reason: str) -> None:
        """It does not come in."""
        if not self._left:
            self._failed(reason)
            self.transport.abortConnection()

    def _failed(self, reason: str) -> None:
        """It does not come in, and is closing already."""
        if not self._left:
            events = self._door.connections.events
            events.refused(self._address, reason)
            if self._shaking is not None:
                events.handshake(reason)
            self._let_go_of_place()

    def _let_go_of_place(self) -> None:
        self._leave()
        self._door.connections.leave(self._host)

    def _leave(self) -> None:
        connections = self._door.connections
        self._left = True
        connections.context.deadlines.clear(self)
        connections.forget(self)
        if self._shaking is not None:
            connections.handshakes.end(self)

    def deadline_passed(self) -> None:
        """It has taken too long, or waits for us to speak first."""
        if self._shaking is not None:
            self._refuse("handshake timeout")
        elif self._header == "allow" and proxy.looks_like_header(self._held) is None:
            self._identify(self._address, 0)
        else:
            self._refuse("proxy header timeout")

    @property
    def is_shaking(self) -> bool:
        """Whether it is counted among the unfinished handshakes."""
        return self._shaking is not None

    def make_room(self) -> None:
        """End, as another stream needs the place and this one has been silent for longest."""
        self._refuse("silent")

    def cut(self) -> None:
        """The daemon ends."""
        self._refuse("drain timeout")

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IProtocol has it
        """The peer has gone before it came in."""
        self._failed("peer closed")

    def logPrefix(self) -> str:
        """What Twisted's log calls it."""
        return type(self).__name__
