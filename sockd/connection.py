"""The shell around one accepted stream.

To the reactor a `Connection` is the protocol; to the plugin's protocol it is the transport. Between the
two it stands aside: `dataReceived` is one call and `write` is the transport's own method, until the peer
stops taking what it is sent. Everything else happens at the edges of a connection's life.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet import interfaces
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.config import Limits
from sockd.deadlines import Deadlines
from sockd.limits import Admission
from sockd.telemetry.events import ServiceEvents

_LAST_DATA, _LAST_DATA_OFFSET, _TCP_INFO_SIZE = struct.Struct("=I4xI"), 44, 56
"""In Linux' struct tcp_info: milliseconds since data was last sent, and since it was last received."""


class Shell:
    """What the connections of one service share.

    Args:
        limits: the service's deadlines and buffers.
        admission: who may still come in.
        events: told about everything that happens.
        deadlines: where connections wait.
        seconds: a monotonic clock.
        emptied: called whenever the last connection is gone.

    """

    __slots__ = (
        "_emptied",
        "_ids",
        "admission",
        "connections",
        "deadlines",
        "events",
        "idle_timeout",
        "limits",
        "seconds",
    )

    def __init__(
        self,
        limits: Limits,
        admission: Admission,
        events: ServiceEvents,
        deadlines: Deadlines,
        seconds: Callable[[], float],
        emptied: Callable[[], None] = lambda: None,
    ) -> None:
        self.limits = limits
        self.idle_timeout = limits.idle_timeout
        self.admission = admission
        self.events = events
        self.deadlines = deadlines
        self.seconds = seconds
        self.connections: set[Connection] = set()
        self._emptied = emptied
        self._ids = 0

    def next_id(self) -> int:
        """A number that no other connection of the service has had."""
        self._ids += 1
        return self._ids

    def drain(self, idle_timeout: float) -> None:
        """The end is near: connections that have been idle for so many seconds are closed from now on."""
        self.idle_timeout = min(idle_timeout, self.idle_timeout or idle_timeout)
        for connection in list(self.connections):
            connection.check_idle()

    def cut(self, reason: str) -> int:
        """Abort what is open; returns how many."""
        open_now = list(self.connections)
        for connection in open_now:
            connection.cut(reason)
        return len(open_now)

    def forget(self, connection: Connection) -> None:
        """Give back what the connection held."""
        self.connections.discard(connection)
        self.admission.release()
        if not self.connections:
            self._emptied()


@implementer(interfaces.IProtocolFactory)
class ConnectionFactory:
    """Puts the shell around each protocol that a plugin's factory builds for one listener."""

    noisy = False

    def __init__(self, plugin_factory: interfaces.IProtocolFactory, shell: Shell) -> None:
        self._plugin_factory = plugin_factory
        self._shell = shell

    def doStart(self) -> None:
        """The listener opens."""
        self._plugin_factory.doStart()

    def doStop(self) -> None:
        """The listener is closed."""
        self._plugin_factory.doStop()

    def buildProtocol(self, address: interfaces.IAddress) -> Connection | None:
        """A connection for the peer, or None, upon which the reactor closes its socket."""
        shell = self._shell
        if reason := shell.admission.admit():
            shell.events.refused(address, reason)
            return None
        try:
            protocol = self._plugin_factory.buildProtocol(address)
        except BaseException:  # the accept loop must go on, whatever a plugin raises
            shell.events.plugin_fault("buildProtocol", Failure(), address)
            protocol = None
        else:
            if protocol is None:
                shell.events.refused(address, "plugin")
        if protocol is None:
            shell.admission.release()
            return None
        return Connection(protocol, shell, address)


@implementer(
    interfaces.IProtocol,
    interfaces.IHalfCloseableProtocol,
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
        "_moved",
        "_paused",
        "_peer",
        "_producer",
        "_protocol",
        "_pulled",
        "_reason",
        "_shell",
        "_started",
        "_transport",
        "_unsent",
        "_valve",
        "dataReceived",
        "id",
        "tick",
        "write",
    )

    dataReceived: Callable[[bytes], None]
    """For the transport. Straight to the plugin where the kernel tells when data last moved."""

    write: Callable[[bytes], None]
    """For the plugin. The transport's own while the peer takes what it is sent."""

    def __init__(
        self, protocol: interfaces.IProtocol, shell: Shell, address: interfaces.IAddress | None = None
    ) -> None:
        self._protocol = protocol
        self._shell = shell
        self._peer = address
        self._reason = ""
        self._producer: Any = None  # the plugin's, if it has registered one
        self._choked = False  # the peer does not take what it is sent
        self._paused = False  # the plugin does not want to read
        self._closing = False
        self._unsent = 0  # when it was last looked at, while closing
        self._valve: _Valve | None = None
        self.tick = 0
        self.id = shell.next_id()

    def __getattr__(self, name: str) -> Any:
        if name in Connection.__slots__:  # not set yet: asking the transport would ask for it again
            raise AttributeError(name)
        return getattr(self._transport, name)

    # The life of the connection, as the reactor tells it.

    def makeConnection(self, transport: Any) -> None:
        """The reactor's side is open; open the plugin's."""
        shell = self._shell
        self._transport = transport
        self._started = self._moved = shell.seconds()
        self._add_valve()
        self._pass_through()
        shell.connections.add(self)
        if shell.idle_timeout is not None:
            shell.deadlines.set(self, shell.idle_timeout)
        shell.events.opened(self._peer, self.id)
        try:
            self._protocol.makeConnection(self)
        except BaseException:
            self._fault("connectionMade")

    def _received(self, data: bytes) -> None:
        try:
            self._protocol.dataReceived(data)
        except BaseException:  # a plugin may raise anything, and its neighbours live on
            self._fault("dataReceived")

    def _received_timed(self, data: bytes) -> None:
        self._moved = self._shell.seconds()
        self._received(data)

    def readConnectionLost(self) -> None:
        """The peer has ended its side. Unless the plugin wants to go on, send what is left and close."""
        half_closeable = interfaces.IHalfCloseableProtocol(self._protocol, None)
        if half_closeable is None:
            self.end("peer closed")
            return
        self._reason = "peer closed"
        try:
            half_closeable.readConnectionLost()
        except BaseException:
            self._fault("readConnectionLost")

    def writeConnectionLost(self) -> None:
        """Our side has ended, as the plugin wished."""
        half_closeable = interfaces.IHalfCloseableProtocol(self._protocol, None)
        if half_closeable is not None:
            try:
                half_closeable.writeConnectionLost()
            except BaseException:
                self._fault("writeConnectionLost")

    def connectionLost(self, reason: Failure) -> None:
        """It is over; called once."""
        shell = self._shell
        self._closing = True
        self.write = self.dataReceived = _discard
        shell.deadlines.clear(self)
        try:
            self._protocol.connectionLost(reason)
        except BaseException:
            shell.events.plugin_fault("connectionLost", Failure(), self._peer)
        finally:
            duration = shell.seconds() - self._started
            shell.events.closed(self._peer, self.id, self._reason or _lost(reason), duration)
            shell.forget(self)
            self._valve = None
            del self._protocol  # the two refer to each other

    def logPrefix(self) -> str:
        """What Twisted's log calls it."""
        return type(self._protocol).__name__

    # The ends that sockd itself brings about.

    def deadline_passed(self) -> None:
        """Idle for too long, or closing without an end."""
        if not self._closing:
            self.check_idle()
        elif (unsent := unsent_bytes(self._transport)) < self._unsent:  # the peer still takes something
            self._unsent = unsent
            self._shell.deadlines.set(self, self._shell.limits.close_timeout)
        else:
            self.cut("close timeout")

    def check_idle(self) -> None:
        """Close it if it has been idle for too long, else wait until it might be."""
        shell = self._shell
        if self._closing or shell.idle_timeout is None:
            return
        left = shell.idle_timeout - self.quiet_for()
        if left <= 0:
            self.end("idle")
        else:
            shell.deadlines.set(self, left)

    def quiet_for(self) -> float:
        """Seconds since a byte last moved in either direction."""
        if (handle := tcp_socket(self._transport)) is None:
            return self._shell.seconds() - self._moved
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        sent, received = _LAST_DATA.unpack_from(info, _LAST_DATA_OFFSET)
        return float(min(sent, received)) / 1000

    def _fault(self, callback: str) -> None:
        """The plugin has raised: this connection ends, nothing else does."""
        self._shell.events.plugin_fault(callback, Failure(), self._peer)
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
        self._shell.deadlines.clear(self)
        self._transport.abortConnection()

    # The plugin's transport, where it is more than the reactor's.

    @property
    def protocol(self) -> interfaces.IProtocol:
        """The plugin's protocol; setting another one hands the connection over to it."""
        return self._protocol

    @protocol.setter
    def protocol(self, protocol: interfaces.IProtocol) -> None:
        self._protocol = protocol

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
        self.write = self._write_bounded
        self._unsent = unsent_bytes(self._transport)
        self._shell.deadlines.set(self, self._shell.limits.close_timeout)
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
            self.write = self._write_bounded
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
        if not self._choked and not self._closing:
            self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """As `loseConnection`."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let `producer` be paused and resumed as the peer reads."""
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self._producer!r} was never unregistered")
        if self._closing and self not in self._shell.connections:
            producer.stopProducing()
            return
        self._producer = producer
        self._pulled = not streaming
        if streaming:
            if self._choked:
                producer.pauseProducing()
        else:
            # A pull producer writes only when asked, which the transport does itself.
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
        """Hear from the transport when the peer leaves its output unread."""
        self._valve = _Valve(self)
        self._transport.registerProducer(self._valve, True)

    def _remove_valve(self) -> None:
        """Before an end: a transport whose producer is paused would resume it instead of ending."""
        if self._valve is not None:
            self._valve = None
            self._transport.unregisterProducer()

    def _pass_through(self) -> None:
        """Nothing between transport and plugin but what it takes to know when data last moved."""
        if tcp_socket(self._transport) is not None:
            self.dataReceived = self._received
            self.write = self._transport.write
        else:
            self.dataReceived = self._received_timed
            self.write = self._write_timed

    def _write_timed(self, data: bytes) -> None:
        self._moved = self._shell.seconds()
        self._transport.write(data)

    def _write_bounded(self, data: bytes) -> None:
        if unsent_bytes(self._transport) + len(data) > self._shell.limits.max_unread_output:
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
        if not self._paused:
            self._transport.resumeProducing()
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
        except BaseException:
            self._connection._fault("resumeProducing")

    def stopProducing(self) -> None:
        producer = self._connection._producer
        if producer is not None:
            self._connection._producer = None
            try:
                producer.stopProducing()
            except BaseException:
                self._connection._fault("stopProducing")


def unsent_bytes(transport: Any) -> int:
    """How much of what was written a transport of Twisted still holds. Without public names for it."""
    held: int = getattr(transport, "_tempDataLen", 0)
    return held + len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)


def tcp_socket(transport: Any) -> socket.socket | None:
    """The transport's socket if the kernel knows when its data last moved: of TCP it does, of UNIX not."""
    handle = getattr(transport, "socket", None)
    inet = isinstance(handle, socket.socket) and handle.family in (socket.AF_INET, socket.AF_INET6)
    return handle if inet else None


def _discard(_: bytes) -> None:
    """What is written to a connection that is gone."""


def _lost(reason: Failure) -> str:
    if reason.check(ConnectionDone):
        return "peer closed"
    if reason.check(ConnectionAborted):
        return "aborted"
    return "reset"
