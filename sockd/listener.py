"""One open port of one service: a socket, adopted by the reactor, with the shell around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.connection import Connection
from sockd.connections import Connections
from sockd.datagram import DatagramPort
from sockd.endpoint import InetEndpoint
from sockd.plugin import Replies
from sockd.sockets import BoundSocket, adopt_stream_port
from sockd.telemetry.events import ServiceEvents


@dataclass(slots=True)
class StreamListener:
    """Accepts connections on one socket."""

    bound: BoundSocket
    protocol: str
    factory: IProtocolFactory
    connections: Connections
    stock: bool
    port: IListeningPort | None = None

    def open(self, reactor: Any) -> None:
        """Begin to accept."""
        over_tcp = isinstance(self.bound.endpoint, InetEndpoint)
        factory = ConnectionFactory(self.factory, self.connections, over_tcp=over_tcp)
        self.port = adopt_stream_port(reactor, self.bound, factory, stock=self.stock)

    async def close(self) -> None:
        """Accept no more; connections stay."""
        await _close(self.port, self.bound)


@dataclass(slots=True)
class DatagramListener:
    """Receives datagrams on one socket."""

    bound: BoundSocket
    protocol: str
    datagram_protocol: DatagramProtocol
    replies: Replies
    own_ports: set[int]
    events: ServiceEvents
    port: DatagramPort | None = None

    def open(self, reactor: Any) -> None:
        """Begin to receive."""
        self.port = DatagramPort(
            self.bound, self.datagram_protocol, self.replies, self.own_ports, self.events, reactor
        )
        self.port.startListening()

    async def close(self) -> None:
        """Receive no more."""
        await _close(self.port, self.bound)


Listener = StreamListener | DatagramListener


@implementer(IProtocolFactory)
class ConnectionFactory:
    """Puts the shell around each protocol that a plugin's factory builds for one listener."""

    noisy = False

    def __init__(
        self, plugin_factory: IProtocolFactory, connections: Connections, *, over_tcp: bool = False
    ) -> None:
        self._plugin_factory = plugin_factory
        self._over_tcp = over_tcp
        self._connections = connections

    def doStart(self) -> None:
        """The listener opens."""
        self._plugin_factory.doStart()

    def doStop(self) -> None:
        """The listener is closed."""
        self._plugin_factory.doStop()

    def buildProtocol(self, address: IAddress) -> Connection | None:
        """A connection for the peer, or None, upon which the reactor closes its socket."""
        connections = self._connections
        if reason := connections.admission.admit():
            connections.events.refused(address, reason)
            return None
        try:
            protocol = self._plugin_factory.buildProtocol(address)
        except BaseException:  # the accept loop must go on, whatever a plugin raises
            connections.events.plugin_fault("buildProtocol", Failure(), address)
            protocol = None
        else:
            if protocol is None:
                connections.events.refused(address, "plugin")
        if protocol is None:
            connections.admission.release()
            return None
        return Connection(protocol, connections, address, over_tcp=self._over_tcp)


async def _close(port: IListeningPort | None, bound: BoundSocket) -> None:
    try:
        if port is not None:
            await maybeDeferred(port.stopListening)
    finally:
        bound.close()
