"""Listener: one open port of one service, a socket that the reactor serves with the shell around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
)

from sockd.config import Listener as ListenerConfig
from sockd.config import ProxyProtocol
from sockd.datagram import DatagramPort
from sockd.plugin import Replies
from sockd.sockets.open import BoundSocket
from sockd.sockets.ports import Grant, adopt_stream_port
from sockd.sockets.transport import counts_bytes
from sockd.stream.factory import ConnectionFactory, stop_factory
from sockd.stream.layers import Layer
from sockd.stream.open_connections import OpenConnections
from sockd.stream.place import Place
from sockd.stream.proxy_header import ProxyHeader, ProxyTrust
from sockd.stream.tls_handshake import TLS
from sockd.tls.credentials import Credentials

MOST_ACCEPTS = 50
"""Turns of accepting, some hundred each, before a socket closes: more than any queue holds."""


FOR_PLACES = frozenset({"descriptors", "full"})
"""Reasons to hold listeners that concern places for connections alone; datagrams take none."""


@dataclass(slots=True, eq=False)
class StreamListener:
    """Accepts connections on one socket."""

    bound: BoundSocket
    config: ListenerConfig
    protocol: str
    factory: IProtocolFactory
    connections: OpenConnections
    credentials: Credentials | None
    grant: Grant
    port: Any = None
    _holds: set[str] = field(default_factory=set)
    _begun: bool = False

    def begin(self) -> None:
        """Start the plugin's factory, which may raise anything, before the listener opens."""
        self.factory.doStart()
        self._begun = True

    def abandon(self) -> None:
        """Stop the factory of a listener that does not get to open."""
        if self._begun:
            self._begun = False
            stop_factory(self.factory, self.connections)

    def open(self, reactor: Any) -> None:
        """Begin to accept."""
        if not self._begun:
            self.begin()
        factory = ConnectionFactory(
            self.factory,
            self.connections,
            layers_of(self.config.proxy_protocol, self.credentials),
            over_tcp=counts_bytes(self.bound.socket),
        )
        options = self.config.socket
        # uvloop turns TCP_NODELAY on for every stream; what is written in the configuration counts.
        stock = options.stock or not options.no_delay
        self.port = adopt_stream_port(reactor, self.bound, factory, self.grant, stock=stock)
        self._begun = False  # the port stops the factory now
        if self._holds:
            self.port.stopReading()

    def hold(self, why: str, *, held: bool) -> None:
        """Accept no more, or again, as far as this reason goes; who comes meanwhile waits in the kernel."""
        was_held = bool(self._holds)
        (self._holds.add if held else self._holds.discard)(why)
        if self.port is None or was_held == bool(self._holds):
            return
        if held:
            self.port.stopReading()
        else:
            self.port.startReading()

    async def close(self, *, keep: bool = False) -> None:
        """Accept no more; connections stay, and those that wait already are served.

        Args:
            keep: the socket stays open, for somebody else serves it.
        """
        port, self.port = self.port, None
        self.abandon()
        if port is not None and not keep:
            _accept_waiting(port)
        await _close(port, self.bound, keep=keep)


@dataclass(slots=True, eq=False)
class DatagramListener:
    """Receives datagrams on one socket."""

    bound: BoundSocket
    config: ListenerConfig
    protocol: str
    declared: Replies  # the plugin's
    replies: Replies  # those that the limits leave of them
    build: Callable[..., DatagramPort]
    port: DatagramPort | None = None

    def begin(self) -> None:
        """Do nothing: a protocol starts when its port opens, and the port lives whatever it raises."""

    def abandon(self) -> None:
        """Do nothing, as `begin`."""

    def open(self, reactor: Any) -> None:  # noqa: ARG002  # as StreamListener has it
        """Begin to receive."""
        self.port = self.build(self.bound, replies=self.replies)
        self.port.startListening()

    def allow(self, replies: Replies) -> None:
        """Change how much may be sent back for a datagram."""
        self.replies = replies
        if self.port is not None:
            self.port.allow(replies)

    def hold(self, why: str, *, held: bool) -> None:
        """Read no more, or again, as far as this reason goes; what comes meanwhile waits in the kernel."""
        if self.port is not None and why not in FOR_PLACES:
            (self.port.stop_reading if held else self.port.start_reading)()

    def drain(self) -> Deferred[None] | None:
        """Begin nothing new; return what fires when nothing is under way any more, None if nothing can be."""
        return None if self.port is None else self.port.drain()

    async def close(self, *, keep: bool = False) -> None:
        """Receive no more; with `keep` the socket stays open, for somebody else reads it."""
        port, self.port = self.port, None
        await _close(port, self.bound, keep=keep)


Listener = StreamListener | DatagramListener


def layers_of(proxied: ProxyProtocol | None, credentials: Credentials | None) -> Sequence[Layer]:
    """Return the layers between a listener's streams and their protocols, outermost first; () for none.

    Args:
        proxied: which proxies send a PROXY header; None if there are none.
        credentials: for TLS; None without it.
    """
    layers: list[Layer] = [Place()]
    if proxied is not None:
        layers = [ProxyTrust(proxied), *layers, ProxyHeader(proxied)]
    if credentials is not None:
        layers.append(TLS(credentials))
    return tuple(layers) if len(layers) > 1 else ()


def _accept_waiting(port: Any) -> None:
    """Take in those that the kernel has accepted already: to close the socket would reset them."""
    for _ in range(MOST_ACCEPTS):
        port.doRead()


async def _close(port: IListeningPort | None, bound: BoundSocket, *, keep: bool) -> None:
    try:
        if port is not None:
            await maybeDeferred(port.stopListening)
    finally:
        if not keep:
            bound.close()
