"""The shell around one accepted stream.

To the reactor a `Connection` is the protocol; to the plugin's protocol it is the transport. Between the
two it stands aside: `dataReceived` is one call and `write` is the transport's own method, until the peer
stops taking what it is sent. Everything else happens at the edges of a connection's life.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet import interfaces
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.sockets.transport import ASKED_BELOW, bytes_moved, passes_on, seconds_quiet, why_lost
from sockd.stream import pace
from sockd.stream.connections import Connections
from sockd.stream.meter import Meter
from sockd.stream.output import GONE, Output


@passes_on("transport", *ASKED_BELOW)
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

    Args:
        protocol: the plugin's.
        connections: those of its service.
        address: the peer's; where a proxy stands between, the true client's.
        host: what it is counted for among the service's limits; None if for nobody in particular.
        over_tcp: whether the kernel counts its bytes and knows when they last moved.
    """

    __slots__ = (
        *("_closing", "_meter", "_output", "_over_tcp", "_paused", "_peer", "_reason", "connections"),
        *("dataReceived", "held", "host", "id", "peer_ended", "piece", "protocol", "rest", "started"),
        *("tick", "transport", "untimed", "write"),
    )

    protocol: interfaces.IProtocol
    """The plugin's; setting another one hands the connection over to it, as with Twisted's transports."""

    dataReceived: Callable[[bytes], None]
    """For the transport. Straight to the plugin where nothing limits it and the kernel counts."""

    write: Callable[[bytes], None]
    """For the plugin. The transport's own while the peer takes what it is sent."""

    transport: Any
    """The reactor's, or what encrypts on top of it."""

    def __init__(
        self,
        protocol: interfaces.IProtocol,
        connections: Connections,
        address: interfaces.IAddress | None = None,
        *,
        host: str | None = None,
        over_tcp: bool = False,
    ) -> None:
        self.protocol = protocol
        self.connections = connections
        self.host = host
        self._peer = address
        self._over_tcp = over_tcp
        self._reason = ""
        self._output = Output(self)
        self._meter: Meter | None = None  # where each byte is looked at
        self.dataReceived = _discard
        self.rest: pace.Rest | None = None  # of a read that takes the plugin more than one turn
        self._paused = False  # the plugin does not want to read
        self.peer_ended = False  # its side, which is then not read any more
        self._closing = False
        self.piece = pace.FIRST  # bytes that its plugin may be handed in a turn
        self.untimed: float = pace.FIRST  # and until somebody looks how long it takes
        self.held = False  # it has moved more than it may
        self.tick = 0
        self.id = connections.next_id()

    def __conform__(self, interface: object) -> Connection | None:
        """Whether something is left to do when one side ends; else the transport closes at once."""
        if interface is not interfaces.IHalfCloseableProtocol:
            return None
        left = self._closing or self._output.is_left()
        left = left or interfaces.IHalfCloseableProtocol.providedBy(self.protocol)
        return self if left else None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # what is passed on

    # What the reactor calls.

    def makeConnection(self, transport: Any) -> None:
        """The reactor's side is open; open the plugin's."""
        connections, limits = self.connections, self.connections.limits
        self.transport, self.started = transport, connections.seconds()
        awaits_message = limits.first_message_timeout is not None
        if awaits_message or not self._over_tcp or limits.bytes_per_second is not None:
            self._meter = Meter(self, counts=not self._over_tcp, awaits_message=awaits_message)
        self._output.watch()
        connections.add(self)
        if connections.first_end is not None:
            connections.deadlines.set(self, connections.first_end)
        connections.events.opened(self._peer, self.id)
        try:
            self.protocol.makeConnection(self)
        except BaseException:  # a plugin may raise anything
            self.fault("connectionMade")

    def deliver(self, data: bytes) -> None:
        """Hand data to the plugin."""
        try:
            self.untimed -= len(data)
            if self.untimed < 0:
                pace.deliver(self, data)
            else:
                self.protocol.dataReceived(data)
        except BaseException:  # a plugin may raise anything, and its neighbours live on
            self.fault("dataReceived")

    def readConnectionLost(self) -> None:
        """The peer has ended its side. Unless the plugin wants to go on, send what is left and close."""
        self.peer_ended = True
        if self._closing:
            return
        if half_closeable := interfaces.IHalfCloseableProtocol(self.protocol, None):
            self._reason = "peer closed"
            try:
                half_closeable.readConnectionLost()
            except BaseException:  # a plugin may raise anything
                self.fault("readConnectionLost")
        else:
            self.end("peer closed")

    def writeConnectionLost(self) -> None:
        """Our side has ended, and everything is sent."""
        self._output.ended = True
        if self._closing:
            self._output.leave()
        elif half_closeable := interfaces.IHalfCloseableProtocol(self.protocol, None):
            try:
                half_closeable.writeConnectionLost()
            except BaseException:  # a plugin may raise anything
                self.fault("writeConnectionLost")

    def connectionLost(self, reason: Failure) -> None:
        """It is over; called once."""
        connections = self.connections
        self._silence()
        try:
            self.protocol.connectionLost(reason)
        except BaseException:  # a plugin may raise anything
            connections.events.plugin_fault("connectionLost", Failure(), self._peer)
        finally:
            duration = connections.seconds() - self.started
            moved = self.bytes_moved(done=reason.type is ConnectionDone)
            connections.events.closed(self._peer, self.id, self._reason or why_lost(reason), duration, *moved)
            self._output.close()
            connections.remove(self)
            self._output, self._meter = GONE, None
            del self.protocol  # all of them refer to it, and then only a collector would free it

    def logPrefix(self) -> str:
        """What Twisted's log calls it."""
        return type(self.protocol).__name__

    # The ends that sockd itself brings about.

    def deadline_passed(self) -> None:
        """Something has taken too long, or may have."""
        if not self._closing:
            self.check_deadlines()
        elif self._output.is_taken():
            self.connections.deadlines.set(self, self.connections.limits.close_timeout)
        else:
            self.cut("close timeout" if self._output.unsent() else self._reason)

    def check_deadlines(self) -> None:
        """End it if it has been open, silent or without a message for too long, else wait until it might."""
        if self._closing:
            return
        awaits_message = self._meter is not None and self._meter.awaits_message
        age = self.connections.seconds() - self.started
        soonest = self.connections.soonest_end
        wait, reason = soonest(self.id, age, self.quiet_for, awaits_message=awaits_message)
        if wait <= 0:
            self.end(reason)
        elif reason:
            self.connections.deadlines.set(self, wait)

    def quiet_for(self) -> float:
        """Seconds since a byte last moved in either direction, or could have."""
        if self.held:
            return 0.0
        quiet = inf if self._meter is None else self.connections.seconds() - self._meter.moved
        return min(quiet, seconds_quiet(self.transport)) if self._over_tcp else quiet

    def bytes_moved(self, *, done: bool = False) -> tuple[int, int]:
        """Bytes received and sent: as the kernel counts those of TCP, else as they passed here.

        Args:
            done: whether both sides have ended in order.
        """
        if self._meter is not None and not self._over_tcp:
            return self._meter.received, self._meter.sent
        return bytes_moved(self.transport, done=done)

    @property
    def state(self) -> str:
        """In one word, for people."""
        if self._closing:
            return "closing"
        if self._output.choked:
            return "unread"
        return "held" if self.held else "paused" if self._paused else "open"

    def fault(self, callback: str) -> None:
        """The plugin has raised: this connection ends, nothing else does."""
        self.connections.events.plugin_fault(callback, Failure(), self._peer)
        self.cut("plugin fault")

    def end(self, reason: str) -> None:
        """Close it once everything is sent."""
        self._reason = self._reason or reason
        self.loseConnection()

    def cut(self, reason: str) -> None:
        """Abort it at once; one that is over already is left to end as it does."""
        if self._output is GONE:
            return
        self._reason = reason
        self._silence()
        self.transport.abortConnection()

    def _silence(self) -> None:
        """From here on nothing passes."""
        self._closing = True
        if self.rest is not None:
            self.rest.end()
        self.write = self.dataReceived = _discard
        self.connections.deadlines.clear(self)
        if self._meter is not None:
            self.connections.deadlines.clear(self._meter)

    # The plugin's transport, where it is more than the reactor's.

    @property
    def disconnecting(self) -> bool:
        """Whether the plugin has asked for the end."""
        return self._closing

    def getPeer(self) -> Any:
        """The true client."""
        return self._peer if self._peer is not None else self.transport.getPeer()

    def first_message_received(self) -> None:
        """For a protocol that reads on for long before it answers: the peer has made itself understood.

        Where nobody says so, the first answer does. It ends the wait of `first_message_timeout`.
        """
        if self._meter is not None and self._meter.awaits_message:
            self._meter.awaits_message = False
            self.pass_through()

    def limits_changed(self) -> None:
        """Other limits hold from now on; a first message that was not waited for still is not."""
        self._meter = self._meter or Meter(self, counts=False, awaits_message=False)
        self._meter.limits_changed()
        self.pass_through()
        self.check_deadlines()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write all of it as one."""
        self.write(b"".join(data))

    def write_on(self, data: bytes) -> None:
        """To the transport, whatever stands in between."""
        self.transport.write(data)
        if self._meter is not None:
            self._meter.wrote(len(data))

    def loseConnection(self) -> None:
        """Close once everything is sent; abort when the peer takes nothing for `close_timeout`."""
        if self._closing:
            return
        self._closing = True
        if self.rest is not None:
            self.rest.end()
        self._reason = self._reason or "closed"
        self.connections.deadlines.set(self, self.connections.limits.close_timeout)
        self._output.finish()

    def abortConnection(self) -> None:
        """Drop everything and reset."""
        self.cut(self._reason or "aborted")

    def loseWriteConnection(self) -> None:
        """End our side once everything is sent; the peer may go on."""
        if self._closing:
            return
        self._output.half_close()

    def startTLS(self, *arguments: Any) -> None:
        """As the transport's; what is written from now on is encrypted."""
        self.transport.startTLS(*arguments)
        self.pass_through()

    def pauseProducing(self) -> None:
        """Stop reading from the peer."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, unless the peer does not read either."""
        self._paused = False
        self.read_on()

    def stopProducing(self) -> None:
        """As `loseConnection`."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let `producer` be paused and resumed as the peer reads."""
        if self._closing and self not in self.connections:
            producer.stopProducing()
        else:
            self._output.register(producer, streaming=streaming)

    def unregisterProducer(self) -> None:
        """The producer has written its last."""
        self._output.unregister()

    # Whether data passes.

    def may_read(self) -> bool:
        """Whether the plugin, the peer and the limits let it."""
        return not (self._paused or self.held or self._output.choked or self.peer_ended or self._closing)

    def read_on(self) -> None:
        """Read from the peer, if nothing speaks against it: first what was read already."""
        if not self.may_read():
            return
        if self.rest is None:
            self.transport.resumeProducing()
        else:
            self.rest.go_on()

    def hold(self) -> None:
        """It has moved more than it may."""
        self.held = True
        self.transport.pauseProducing()
        self._output.pause()

    def let_go(self) -> None:
        """It may move data again."""
        self.held = False
        self.read_on()
        self._output.resume()

    def pass_through(self) -> None:
        """Nothing between transport and plugin, unless each byte is looked at or the peer is behind."""
        if self._closing:
            return
        transport, received = self.transport, self.deliver
        write = getattr(transport, "direct_write", transport.write)
        if self._meter is not None and self._meter.has_nothing_to_do:
            self._meter = None
        if self._meter is not None:
            self._meter.send, write, received = write, self._meter.write, self._meter.receive
        if not self._output.choked:
            self.write = write if self._output.watching else self._output.write_bounded
        if received != self.dataReceived:
            self.dataReceived = received
            if receive_directly := getattr(transport, "receive_directly", None):  # of sockd's reactor
                receive_directly(received)


def _discard(_: bytes) -> None:
    """What is written to a connection that is gone."""
