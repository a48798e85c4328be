"""The shell around one accepted stream.

To the reactor a `Connection` is the protocol; to the plugin's protocol it is the transport. Between the
two it stands aside: `dataReceived` is one call and `write` is the transport's own method, until the peer
stops taking what it is sent. Everything else happens at the edges of a connection's life.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet import interfaces
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.connections import Connections
from sockd.transport import seconds_quiet, tcp_socket, unsent_bytes


@implementer(
    interfaces.IProtocol,
    interfaces.ITCPTransport,
    interfaces.IConsumer,
    interfaces.IPushProducer,
    interfaces.ISystemHandle,
    interfaces.ILoggingContext,
)
class Connection:
    """One accepted stream: the reactor's protocol and the plugin's transport.

    What it does not know itself it asks the transport (`getPeer`, `getHost`, `setTcpNoDelay` …).
    """

    __slots__ = (
        "_choked",
        "_closing",
        "_connections",
        "_moved",
        "_over_tcp",
        "_paused",
        "_peer",
        "_peer_ended",
        "_producer",
        "_pulled",
        "_reason",
        "_started",
        "_transport",
        "_unsent",
        "_valve",
        "dataReceived",
        "id",
        "protocol",
        "tick",
        "write",
    )

    protocol: interfaces.IProtocol
    """The plugin's; setting another one hands the connection over to it, as with Twisted's transports."""

    dataReceived: Callable[[bytes], None]
    """For the transport. Straight to the plugin where the kernel tells when data last moved."""

    write: Callable[[bytes], None]
    """For the plugin. The transport's own while the peer takes what it is sent."""

    def __init__(
        self,
        protocol: interfaces.IProtocol,
        connections: Connections,
        address: interfaces.IAddress | None = None,
        *,
        over_tcp: bool = False,
    ) -> None:
        self.protocol = protocol
        self._connections = connections
        self._peer = address
        self._over_tcp = over_tcp  # then the kernel knows when data last moved
        self._reason = ""
        self._producer: Any = None  # the plugin's, if it has registered one
        self._choked = False  # the peer does not take what it is sent
        self._paused = False  # the plugin does not want to read
        self._peer_ended = False  # its side, which is then not read any more
        self._closing = False
        self._unsent = 0  # when it was last looked at, while closing
        self._valve: _Valve | None = None
        self.tick = 0
        self.id = connections.next_id()

    def __conform__(self, interface: object) -> Connection | None:
        """Whether something is left to do when the peer ends its side; else the transport closes at once."""
        if interface is not interfaces.IHalfCloseableProtocol:
            return None
        wanted = interfaces.IHalfCloseableProtocol.providedBy(self.protocol)
        left = wanted or self._producer is not None or unsent_bytes(self._transport)
        return self if left else None

    def __getattr__(self, name: str) -> Any:
        if name in Connection.__slots__:  # not set yet: asking the transport would ask for it again
            raise AttributeError(name)
        return getattr(self._transport, name)

    def makeConnection(self, transport: Any) -> None:
        """The reactor's side is open; open the plugin's."""
        connections = self._connections
        self._transport = transport
        self._started = self._moved = connections.seconds()
        self._add_valve()
        connections.add(self)
        if connections.idle_timeout is not None:
            connections.deadlines.set(self, connections.idle_timeout)
        connections.events.opened(self._peer, self.id)
        try:
            self.protocol.makeConnection(self)
        except BaseException:  # a plugin may raise anything
            self._fault("connectionMade")

    @property
    def direct_data_received(self) -> Callable[[bytes], None] | None:
        """For sockd's reactor: what may stand for `dataReceived` to the end, if anything may."""
        return self._received if self.dataReceived == self._received else None

    def _received(self, data: bytes) -> None:
        try:
            self.protocol.dataReceived(data)
        except BaseException:  # a plugin may raise anything, and its neighbours live on
            self._fault("dataReceived")

    def _received_timed(self, data: bytes) -> None:
        self._moved = self._connections.seconds()
        self._received(data)

    def readConnectionLost(self) -> None:
        """The peer has ended its side. Unless the plugin wants to go on, send what is left and close."""
        self._peer_ended = True
        if half_closeable := interfaces.IHalfCloseableProtocol(self.protocol, None):
            self._reason = "peer closed"
            try:
                half_closeable.readConnectionLost()
            except BaseException:  # a plugin may raise anything
                self._fault("readConnectionLost")
        else:
            self.end("peer closed")

    def writeConnectionLost(self) -> None:
        """Our side has ended, as the plugin wished."""
        if half_closeable := interfaces.IHalfCloseableProtocol(self.protocol, None):
            try:
                half_closeable.writeConnectionLost()
            except BaseException:  # a plugin may raise anything
                self._fault("writeConnectionLost")

    def connectionLost(self, reason: Failure) -> None:
        """It is over; called once."""
        connections = self._connections
        self._closing = True
        self.write = self.dataReceived = _discard
        connections.deadlines.clear(self)
        try:
            self.protocol.connectionLost(reason)
        except BaseException:  # a plugin may raise anything
            connections.events.plugin_fault("connectionLost", Failure(), self._peer)
        finally:
            duration = connections.seconds() - self._started
            connections.events.closed(self._peer, self.id, self._reason or _lost(reason), duration)
            connections.remove(self)
            self._valve = None
            del self.protocol  # the two refer to each other

    def logPrefix(self) -> str:
        """What Twisted's log calls it."""
        return type(self.protocol).__name__

    # The ends that sockd itself brings about.

    def deadline_passed(self) -> None:
        """Idle for too long, or closing without an end."""
        if not self._closing:
            self.check_idle()
        elif self._is_taken():
            self._connections.deadlines.set(self, self._connections.limits.close_timeout)
        else:
            self.cut("close timeout")

    def _is_taken(self) -> bool:
        """Whether, since it was last asked, the peer of a closing connection took some of its output."""
        before, self._unsent = self._unsent, unsent_bytes(self._transport)
        refilled = self._producer is not None and self.quiet_for() < self._connections.limits.close_timeout
        return self._unsent < before or refilled

    def check_idle(self) -> None:
        """Close it if it has been idle for too long, else wait until it might be."""
        connections = self._connections
        if self._closing or connections.idle_timeout is None:
            return
        left = connections.idle_timeout - self.quiet_for()
        if left <= 0:
            self.end("idle")
        else:
            connections.deadlines.set(self, left)

    def quiet_for(self) -> float:
        """Seconds since a byte last moved in either direction."""
        handle = tcp_socket(self._transport)
        return seconds_quiet(handle) if handle else self._connections.seconds() - self._moved

    def _fault(self, callback: str) -> None:
        """The plugin has raised: this connection ends, nothing else does."""
        self._connections.events.plugin_fault(callback, Failure(), self._peer)
        self.cut("plugin fault")

    def end(self, reason: str) -> None:
        """Close it once everything is sent."""
        self._reason = self._reason or reason
        self.loseConnection()

    def cut(self, reason: str) -> None:
        """Abort it at once."""
        self._reason = reason
        self._closing = True
        self.write = self.dataReceived = _discard
        self._connections.deadlines.clear(self)
        self._transport.abortConnection()

    # The plugin's transport, where it is more than the reactor's.

    @property
    def disconnecting(self) -> bool:
        """Whether the plugin has asked for the end."""
        return self._closing

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write all of it as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close once everything is sent; abort when the peer takes nothing for `close_timeout`."""
        if self._closing:
            return
        self._closing = True
        self._reason = self._reason or "closed"
        self.write = self._write_bounded  # what the peer does not take now it may never take
        self._unsent = unsent_bytes(self._transport)
        self._connections.deadlines.set(self, self._connections.limits.close_timeout)
        if self._producer is None:
            self._remove_valve()
        self._transport.loseConnection()

    def abortConnection(self) -> None:
        """Drop everything and reset."""
        self.cut(self._reason or "aborted")

    def loseWriteConnection(self) -> None:
        """End our side once everything is sent; the peer may go on."""
        if self._producer is None:
            self._remove_valve()
        self._transport.loseWriteConnection()

    def startTLS(self, *arguments: Any) -> None:
        """As the transport's; what is written from now on is encrypted."""
        self._transport.startTLS(*arguments)
        self._pass_through()

    def pauseProducing(self) -> None:
        """Stop reading from the peer."""
        self._paused = True
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, unless the peer does not read either."""
        self._paused = False
        self._read_on()

    def stopProducing(self) -> None:
        """As `loseConnection`."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let `producer` be paused and resumed as the peer reads."""
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self._producer!r} was never unregistered")
        if self._closing and self not in self._connections:
            producer.stopProducing()
            return
        self._producer = producer
        self._pulled = not streaming
        if streaming:
            if self._choked:
                producer.pauseProducing()
        else:
            # One that writes only when asked is asked by the transport itself.
            self._remove_valve()
            self._transport.registerProducer(producer, False)

    def unregisterProducer(self) -> None:
        """The producer has written its last."""
        if self._producer is None:
            return
        self._producer = None
        if self._pulled:
            self._transport.unregisterProducer()
            if not self._closing:
                self._add_valve()
        elif self._closing:
            self._remove_valve()

    # What the peer does with its output.

    def _add_valve(self) -> None:
        """Hear from the transport when the peer leaves its output unread; until then nothing is counted."""
        self._valve = _Valve(self)
        self._transport.registerProducer(self._valve, True)
        self._pass_through()

    def _remove_valve(self) -> None:
        """Count every write instead: a transport resumes a paused producer where it should end."""
        if self._valve is not None:
            self._valve = None
            self._transport.unregisterProducer()
            self.write = self._write_bounded
            self._choked = False
            self._read_on()

    def _read_on(self) -> None:
        """Read from the peer, if nothing speaks against it."""
        if not (self._paused or self._choked or self._peer_ended or self._closing):
            self._transport.resumeProducing()

    def _pass_through(self) -> None:
        """Nothing between transport and plugin but what it takes to know when data last moved."""
        if self._over_tcp:
            self.dataReceived = self._received
            self.write = getattr(self._transport, "direct_write", self._transport.write)
        else:
            self.dataReceived = self._received_timed
            self.write = self._write_timed

    def _write_timed(self, data: bytes) -> None:
        self._moved = self._connections.seconds()
        self._transport.write(data)

    def _write_bounded(self, data: bytes) -> None:
        self._moved = self._connections.seconds()
        if unsent_bytes(self._transport) + len(data) > self._connections.limits.max_unread_output:
            self.cut("unread output")
        else:
            self._transport.write(data)

    def _choke(self) -> None:
        """The peer leaves output unread: read no more from it, and count what is still written."""
        self._choked = True
        self.write = self._write_bounded
        self._transport.pauseProducing()
        if self._producer is not None:
            self._producer.pauseProducing()

    def _unchoke(self) -> None:
        """The peer has taken everything."""
        self._choked = False
        if self._closing:
            return
        self._pass_through()
        self._read_on()
        if self._producer is not None:
            self._producer.resumeProducing()


@implementer(interfaces.IPushProducer)
class _Valve:
    """What the transport pauses when the peer does not take its output.

    The connection cannot be this itself: it has the same methods for the opposite direction.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def pauseProducing(self) -> None:
        self._connection._choke()

    def resumeProducing(self) -> None:
        try:
            self._connection._unchoke()
        except BaseException:  # a plugin may raise anything
            self._connection._fault("resumeProducing")

    def stopProducing(self) -> None:
        producer = self._connection._producer
        if producer is not None:
            self._connection._producer = None
            try:
                producer.stopProducing()
            except BaseException:  # a plugin may raise anything
                self._connection._fault("stopProducing")


def _discard(_: bytes) -> None:
    """What is written to a connection that is gone."""


_ENDS: Mapping[Any, str] = {ConnectionDone: "peer closed", ConnectionAborted: "aborted"}


def _lost(reason: Failure) -> str:
    return _ENDS.get(reason.type, "reset")
