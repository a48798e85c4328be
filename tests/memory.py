"""Shell of one service with all that is around it, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sockd.config import Limits, ProxyProtocol
from sockd.limits import Admission, Terms
from sockd.serving.listener import layers_of
from sockd.sockets.deadlines import Deadlines
from sockd.sockets.linger import Linger
from sockd.stream.connection import Connection
from sockd.stream.factory import ConnectionFactory
from sockd.stream.open_connections import OpenConnections
from sockd.stream.unread import Unread
from sockd.stream.waiting import WaitingRoom
from sockd.telemetry.events import ServiceEvents
from sockd.tls.credentials import Credentials

PEER = IPv4Address("TCP", "127.0.0.1", 40112)
KERNEL = 64 * 1024
"""Bytes that a transport takes before it pauses its producer."""


def turn(clock: Clock) -> None:
    """Make one turn of the reactor: the calls that were due when it began."""
    calls: Sequence[Any] = clock.getDelayedCalls()
    due = [call for call in calls if call.getTime() <= clock.seconds()]
    for call in due:
        run, arguments = call.func, call.args
        call.cancel()
        run(*arguments)


class Transport:
    """Transport of Twisted's contract whose peer reads only when the test says so."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.producer: Any = None
        self.streaming = True
        self.dataBuffer = b""
        self.taken = b""
        self.reading = True
        self.disconnecting = False
        self.half_closing = False
        self.lost = False
        self.lingers = False  # the peer does not end its side after ours

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(data)
        self.dataBuffer += data
        if len(self.dataBuffer) > KERNEL and self.producer is not None and self.streaming:
            self.producer.pauseProducing()

    def take(self, size: int | None = None) -> None:
        """Let the peer read so many bytes, or all."""
        size = len(self.dataBuffer) if size is None else size
        self.taken, self.dataBuffer = self.taken + self.dataBuffer[:size], self.dataBuffer[size:]
        if self.dataBuffer or self.lost:
            return
        if self.producer is not None:
            self.producer.resumeProducing()
        elif self.disconnecting and not self.half_closing:
            self.lose(ConnectionDone())
        elif self.half_closing:
            self.half_closing = False
            if (protocol := IHalfCloseableProtocol(self.protocol, None)) is not None:
                protocol.writeConnectionLost()
            if (
                isinstance(self.protocol, Linger) and not self.lingers
            ):  # the peer sees our end, and ends its side
                self.lose(ConnectionDone())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError("there is one")
        self.producer, self.streaming = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        if self.producer is None:
            raise RuntimeError("there is none")
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:
        self.disconnecting, self.reading = True, False

    def loseWriteConnection(self) -> None:
        self.half_closing = True
        self.disconnecting = self.disconnecting or (
            not self.lingers and getattr(self.protocol, "disconnecting", False)
        )

    def abortConnection(self) -> None:
        self.dataBuffer = b""
        self.lose(ConnectionAborted())

    def lose(self, reason: Exception) -> None:
        if not self.lost:
            self.lost = True
            if self.producer is not None:
                self.producer.stopProducing()
            self.protocol.connectionLost(Failure(reason))

    def getPeer(self) -> IPv4Address:
        return PEER


class Recorder(Protocol):
    """Protocol that writes down what happens to it; a test replaces what it does."""

    def __init__(self) -> None:
        self.happened: list[Any] = []

    def connectionMade(self) -> None:
        self.happened.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.happened.append(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.happened.append(reason.type)


class World:
    """Shell of one service.

    Args:
        terms: who may come in; without them, `max_connections` of the limits.
        unread: bytes that all peers together may leave unread.
        limits: as they are written in a configuration.
    """

    def __init__(self, terms: Terms | None = None, unread: int = 2**20, **limits: Any) -> None:
        self.clock = Clock()
        self.events = ServiceEvents("test", self.clock.seconds)
        self.emptied = 0
        self.held: list[bool] = []  # what accepting was told
        values = {"max_connections": 3, "idle_timeout": "60s", "close_timeout": "5s"} | limits
        self.limits = Limits.model_validate(values)
        self.admission = Admission(terms or self.limits.max_connections, self.clock.seconds)
        self.unread = Unread(unread)
        self.connections = OpenConnections(
            self.limits,
            self.admission,
            self.events,
            Deadlines(self.clock),
            self.clock,
            self.unread,
            self._count,
        )
        if self.limits.over_limit == "queue":
            self.connections.let_wait(WaitingRoom(self.admission, self.clock, self.held.append))

    def _count(self) -> None:
        self.emptied += 1

    def factory(
        self,
        build: Callable[[Any], Any],
        *,
        mode: str = "",
        trust: str = "192.0.2.0/24",
        credentials: Credentials | None = None,
        over_tcp: bool = False,
    ) -> ConnectionFactory:
        """Return a listener's factory; with a `mode` it takes the PROXY header from those it trusts."""
        factory: Any = Factory()
        factory.buildProtocol = build
        proxied = ProxyProtocol.model_validate({"mode": mode, "trust": [trust]}) if mode else None
        return ConnectionFactory(
            factory,
            self.connections,
            layers_of(proxied, credentials),
            over_tcp=over_tcp or bool(mode),
        )

    def enter(self, door: ConnectionFactory, address: IAddress = PEER) -> Transport:
        """Connect a peer; its transport is closed at once if nothing is built for it."""
        transport = Transport()
        transport.protocol = door.buildProtocol(address)
        if transport.protocol is None:
            transport.disconnecting = transport.lost = True
        else:
            transport.protocol.makeConnection(transport)
        return transport

    def connect(self, protocol: Any) -> tuple[Connection, Transport]:
        """Connect a peer as far as the plugin's protocol."""
        transport = self.enter(self.factory(lambda _: protocol))
        assert isinstance(transport.protocol, Connection)
        return transport.protocol, transport

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.pump([0.05] * round(seconds / 0.05))

    def closed(self, reason: str) -> int:
        """Return how many connections have ended for this reason."""
        return self.events.counts["closed", reason]

    def refused(self, reason: str) -> int:
        """Return how many were refused for this reason."""
        return self.events.counts["connection refused", reason]

    @property
    def faults(self) -> int:
        """Number of exceptions of the plugin."""
        return sum(count for (event, _), count in self.events.counts.items() if event == "plugin fault")

    def is_empty(self) -> bool:
        """Return whether every place was given back, once, and no peer is waited for."""
        connections = self.connections
        return (
            self.admission.open == len(connections) == connections.handshakes.unfinished == 0
            and not self.admission.sources
            and not connections.tarpits
        )
