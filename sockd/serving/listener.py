"""One open port of one service: a socket, adopted by the reactor, with the shell around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IFileDescriptorReceiver,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.config import Listener as ListenerConfig
from sockd.config import ProxyProtocol
from sockd.config.network_sets import NONE
from sockd.datagram import DatagramPort
from sockd.plugin import Replies
from sockd.sockets.open import BoundSocket
from sockd.sockets.ports import Grant, adopt_stream_port
from sockd.sockets.transport import counts_bytes
from sockd.stream.connection import Connection
from sockd.stream.entry import Entry
from sockd.stream.open_connections import OpenConnections
from sockd.stream.passing import ReceivingConnection
from sockd.stream.refusal import MOST_TARPITS, Goodbye, Tarpit
from sockd.stream.waiting import TOTALS, Waiting
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
            _stop(self.factory, self.connections)

    def open(self, reactor: Any) -> None:
        """Begin to accept."""
        if not self._begun:
            self.begin()
        door = ConnectionFactory(
            self.factory,
            self.connections,
            credentials=self.credentials,
            proxied=self.config.proxy_protocol,
            over_tcp=counts_bytes(self.bound.socket),
        )
        options = self.config.socket
        # uvloop turns TCP_NODELAY on for every stream; what is written in the configuration counts.
        stock = options.stock or not options.no_delay
        self.port = adopt_stream_port(reactor, self.bound, door, self.grant, stock=stock)
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

    async def close(self, *, keep: bool = False) -> None:
        """Receive no more; with `keep` the socket stays open, for somebody else reads it."""
        port, self.port = self.port, None
        await _close(port, self.bound, keep=keep)


Listener = StreamListener | DatagramListener


@implementer(IProtocolFactory)
class ConnectionFactory:
    """Puts the shell around each protocol that a plugin's factory builds for one listener."""

    noisy = False

    def __init__(
        self,
        plugin_factory: IProtocolFactory,
        connections: OpenConnections,
        *,
        credentials: Credentials | None = None,
        proxied: ProxyProtocol | None = None,
        over_tcp: bool = False,
    ) -> None:
        self.connections = connections
        self.credentials = credentials
        self._plugin_factory = plugin_factory
        self._over_tcp = over_tcp
        self._header = proxied.mode if proxied is not None else ""
        self._trusted = proxied.trust if proxied is not None else NONE

    def doStart(self) -> None:
        """Do nothing: the plugin's factory was started before the listener opened, since that can fail."""

    def doStop(self) -> None:
        """The listener is closed."""
        _stop(self._plugin_factory, self.connections)

    def buildProtocol(self, address: IAddress) -> IProtocol | None:
        """A connection for the peer, or its way there; None, upon which the reactor closes its socket."""
        host = getattr(address, "host", None)
        header = self._header
        if header:
            if isinstance(address, UNIXAddress) or (host is not None and host in self._trusted):
                host = None  # it is the proxy's; whom it speaks for is not known yet
            elif header == "require":
                self.connections.events.refused(address, "proxy not trusted")
                return None
            else:
                header = ""
        return self._admit(address, host, header)

    def _admit(self, address: IAddress, host: str | None, header: str) -> IProtocol | None:
        connections = self.connections
        reason = connections.admission.admit(host)
        if reason == "max_connections" and connections.room is None and connections.make_room():
            reason = connections.admission.admit(host)
        if reason:
            if reason in TOTALS and connections.room is not None:
                return Waiting(connections.room, partial(self._admit, address, host, header))
            return self.turn_away(address, reason)
        if connections.room is not None:
            connections.room.look()
        if header or self.credentials is not None:
            return Entry(self, address, host, header)
        return self.build(address, host)

    def build(self, address: IAddress, host: str | None) -> Connection | None:
        """The connection of a peer that holds a place for `host`; None, and no place, if there is none."""
        connections = self.connections
        try:
            protocol = self._plugin_factory.buildProtocol(address)
        except BaseException:  # the accept loop must go on, whatever a plugin raises
            connections.events.plugin_fault("buildProtocol", Failure(), address)
            protocol = None
        else:
            if protocol is None:
                connections.events.refused(address, "plugin")
        if protocol is None:
            connections.leave(host)
            return None
        receives = not self._over_tcp and IFileDescriptorReceiver.providedBy(protocol)
        kind = ReceivingConnection if receives else Connection
        return kind(protocol, connections.context, address, host=host, over_tcp=self._over_tcp)

    def turn_away(self, address: IAddress, reason: str) -> IProtocol | None:
        """What becomes of a peer that is over a limit; None: it is closed."""
        connections = self.connections
        connections.events.refused(address, reason)
        limits = connections.context.limits
        match limits.over_limit:
            case _ if reason == "denied":
                return None
            case "reset":
                return Goodbye(None, connections)
            case "banner" if self.credentials is None:
                return Goodbye(limits.over_limit_banner.encode() + b"\r\n", connections)
            case "tarpit" if len(connections.tarpits) < MOST_TARPITS:
                return Tarpit(connections)
        return None


def _stop(factory: IProtocolFactory, connections: OpenConnections) -> None:
    """Stop a plugin's factory, whatever it raises."""
    try:
        factory.doStop()
    except BaseException:  # the listener is closed all the same
        connections.events.plugin_fault("stopFactory", Failure())


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
