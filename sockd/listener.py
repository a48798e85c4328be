"""One open port of one service: a socket, adopted by the reactor, with the shell around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol

from sockd.connection import ConnectionFactory, Shell
from sockd.datagram import DatagramPort
from sockd.plugin import Replies
from sockd.sockets import BoundSocket, adopt_stream_port
from sockd.telemetry.events import ServiceEvents


@dataclass(slots=True)
class StreamListener:
    """Accepts connections on one socket."""

    bound: BoundSocket
    protocol: str
    factory: IProtocolFactory
    shell: Shell
    port: IListeningPort | None = None

    def open(self, reactor: Any) -> None:
        """Begin to accept."""
        self.port = adopt_stream_port(reactor, self.bound, ConnectionFactory(self.factory, self.shell))

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


async def _close(port: IListeningPort | None, bound: BoundSocket) -> None:
    try:
        if port is not None:
            await maybeDeferred(port.stopListening)
    finally:
        bound.close()
