"""Shell around one accepted stream.

To the reactor a `Connection` is the protocol; to the plugin's protocol it is the transport. Between the two
it stands aside: `dataReceived` is one call and `write` is the transport's own method, until the peer stops
taking what it is sent. Everything else happens at the edges of a connection's life, which `states.py` has.
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
from sockd.stream.context import StreamContext
from sockd.stream.filling import reads_into
from sockd.stream.meter import Meter
from sockd.stream.output import GONE, Output
from sockd.stream.states import AFTER, CLOSES, READS, SILENT, WRITES, State


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
    """Accepted stream: the reactor's protocol and the plugin's transport.

    Args:
        protocol: the plugin's.
        context: of its service.
        address: the peer's; where a proxy stands between, the true client's.
        host: what it is counted for among the service's limits; None if for nobody in particular.
        over_tcp: whether the kernel counts its bytes and knows when they last moved.
    """

    __slots__ = (
        *("_meter", "_output", "_over_tcp", "_paused", "_peer", "_reason", "_untimed"),
        *("context", "dataReceived", "held", "host", "id", "life", "piece", "protocol", "started"),
        *("tick", "transport", "write"),
    )

    protocol: interfaces.IProtocol  # another one may be set, and takes over, as with Twisted's transports
    dataReceived: Callable[[bytes], None]  # for the transport; straight to the plugin where it can be
    write: Callable[[bytes], None]  # for the plugin; the transport's own where it can be
    transport: Any  # the reactor's, or what encrypts on top of it

    def __init__(
        self,
        protocol: interfaces.IProtocol,
        context: StreamContext,
        address: interfaces.IAddress | None = None,
        *,
        host: str | None = None,
        over_tcp: bool = False,
    ) -> None:
        self.protocol, self.context = protocol, context
        self.host, self._peer, self._over_tcp = host, address, over_tcp
        self._reason = ""
        self._output = Output(self)
        self._meter: Meter | None = None  # where each byte is looked at
        self.life: State = "new"
        self.dataReceived = _discard
        self._paused = self.held = False  # the plugin does not want to read; it has moved more than it may
        self.piece = pace.FIRST  # bytes that its plugin may be handed in a turn
        self._untimed: float = pace.FIRST  # and until it is timed again
        self.tick, self.id = 0, context.next_id()

    def __conform__(self, interface: object) -> Connection | None:
        """Claim half-close while something is left when one side ends; else the transport closes at once."""
        if interface is not interfaces.IHalfCloseableProtocol:
            return None
        if self.life not in WRITES or self._output.is_left():
            return self
        return self if interfaces.IHalfCloseableProtocol.providedBy(self.protocol) else None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # what is passed on

    # What the reactor calls.

    def makeConnection(self, transport: Any) -> None:
        """Open the plugin's side, as the reactor's is open."""
        context, limits = self.context, self.context.limits
        self.transport, self.started = transport, context.seconds()
        self.life = AFTER[self.life]["made"]
        awaits_message = limits.first_message_timeout is not None
        if awaits_message or not self._over_tcp or limits.bytes_per_second is not None:
            self._meter = Meter(self, counts=not self._over_tcp, awaits_message=awaits_message)
        self._output.watch()
        context.registry.add(self)
        if context.first_end is not None:
            context.deadlines.set(self, context.first_end)
        context.events.opened(self._peer, self.id)
        try:
            self.protocol.makeConnection(self)
        except BaseException:  # a plugin may raise anything
            self.fault("connectionMade")

    def deliver(self, data: bytes) -> None:
        """Hand data to the plugin."""
        try:
            self._untimed -= len(data)
            if self._untimed < 0:
                self.context.pace.deliver(self, data)
            else:
                self.protocol.dataReceived(data)
        except BaseException:  # a plugin may raise anything, and its neighbours live on
            self.fault("dataReceived")

    def deliver_timed(self, data: bytes) -> None:
        """Hand data to the plugin, and learn from how long it takes; raises what the plugin raises."""
        seconds = self.context.seconds
        began = seconds()
        self.protocol.dataReceived(data)
        took = seconds() - began
        learning = self.context.pace
        if took < pace.QUICK and self.piece == learning.size == pace.MOST:  # nothing is learnt
            self._untimed = pace.MOST_UNTIMED
        else:
            self.piece, self._untimed = learning.learn(self.piece, len(data), took)

    def takes_at_once(self) -> None:
        """Time the plugin no more: it only keeps what it is handed."""
        self._untimed = inf

    reads_into = reads_into

    def readConnectionLost(self) -> None:
        """Send what is left and close, as the peer has ended its side, unless the plugin wants to go on."""
        if life := AFTER[self.life].get("peer ends"):
            self.life = life
            if life not in CLOSES:
                self._reason = "peer closed"
                if not self._tell_half_closed("readConnectionLost"):
                    self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Leave, or tell the plugin: our side has ended, and everything is sent."""
        if life := AFTER[self.life].get("sent"):
            self.life = life
            if life in CLOSES:
                self._output.leave()
            else:
                self._tell_half_closed("writeConnectionLost")

    def _tell_half_closed(self, callback: str) -> bool:
        """Tell the plugin, if it wants to know; return whether it does."""
        protocol = interfaces.IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None:
            try:
                getattr(protocol, callback)()
            except BaseException:  # a plugin may raise anything
                self.fault(callback)
        return protocol is not None

    def connectionLost(self, reason: Failure) -> None:
        """Tell the plugin that it is over, give back the place and write the event; called once."""
        context = self.context
        self.life = AFTER[self.life]["lost"]
        self._fall_silent()
        try:
            self.protocol.connectionLost(reason)
        except BaseException:  # a plugin may raise anything
            context.events.plugin_fault("connectionLost", Failure(), self._peer)
        finally:
            duration = context.seconds() - self.started
            moved = self.bytes_moved(done=reason.type is ConnectionDone)
            context.events.closed(self._peer, self.id, self._reason or why_lost(reason), duration, *moved)
            self._output.close()
            context.registry.remove(self)
            self._output, self._meter = GONE, None
            del self.protocol  # all of them refer to it, and then only a collector would free it

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return type(self.protocol).__name__

    # The ends that sockd itself brings about.

    def deadline_passed(self) -> None:
        """Look at what has taken too long, or may have."""
        if self.life not in CLOSES:
            self.check_deadlines()
        elif self._output.is_taken():
            self.context.deadlines.set(self, self.context.limits.close_timeout)
        else:
            self.cut("close timeout" if self._output.unsent() else self._reason)

    def check_deadlines(self) -> None:
        """End it if it has been open, silent or without a message for too long, else wait until it might."""
        if self.life in CLOSES:
            return
        awaits_message = self._meter is not None and self._meter.awaits_message
        age = self.context.seconds() - self.started
        wait, reason = self.context.soonest_end(self.id, age, self.quiet_for, awaits_message=awaits_message)
        if wait <= 0:
            self.end(reason)
        elif reason:
            self.context.deadlines.set(self, wait)

    def quiet_for(self) -> float:
        """Return the seconds since a byte last moved in either direction, or could have."""
        if self.held:
            return 0.0
        quiet = inf if self._meter is None else self.context.seconds() - self._meter.moved
        return min(quiet, seconds_quiet(self.transport)) if self._over_tcp else quiet

    def bytes_moved(self, *, done: bool = False) -> tuple[int, int]:
        """Return the bytes received and sent; `done` tells whether both sides have ended in order."""
        if self._meter is not None and not self._over_tcp:
            return self._meter.received, self._meter.sent
        return bytes_moved(self.transport, done=done)

    @property
    def state(self) -> str:
        """State in one word, for people."""
        if self.life in CLOSES:
            return "closing"
        if self._output.choked:
            return "unread"
        return "held" if self.held else "paused" if self._paused else "open"

    def fault(self, callback: str) -> None:
        """Abort this connection, and nothing else, as the plugin has raised in a callback."""
        self.context.events.plugin_fault(callback, Failure(), self._peer)
        self.cut("plugin fault")

    def end(self, reason: str) -> None:
        """Close it once everything is sent."""
        self._reason = self._reason or reason
        self.loseConnection()

    def cut(self, reason: str) -> None:
        """Abort it at once; one that is over already is left to end as it does."""
        if life := AFTER[self.life].get("abort"):
            self.life, self._reason = life, reason
            self._fall_silent()
            self.transport.abortConnection()

    def _fall_silent(self) -> None:
        """Let nothing pass any more, and wait for nothing."""
        self.route()
        self.context.deadlines.clear(self)
        if self in self.context.pace.rests:
            self.context.pace.forget(self)
        if self._meter is not None:
            self.context.deadlines.clear(self._meter)

    # The plugin's transport, where it is more than the reactor's.

    @property
    def disconnecting(self) -> bool:
        """Return whether the plugin has asked for the end."""
        return self.life in CLOSES

    def getPeer(self) -> Any:
        """Return the address of the true client."""
        return self._peer if self._peer is not None else self.transport.getPeer()

    def first_message_received(self) -> None:
        """End the wait of `first_message_timeout`, for a protocol that reads long before it answers."""
        if self._meter is not None and self._meter.awaits_message:
            self._meter.end_wait()
            self.route()

    def limits_changed(self) -> None:
        """Look at limits that have changed; a first message that was not waited for still is not."""
        self._meter = self._meter or Meter(self, counts=False, awaits_message=False)
        self._meter.limits_changed()
        self.route()
        self.check_deadlines()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write all of it as one."""
        self.write(b"".join(data))

    def write_on(self, data: bytes) -> None:
        """Write to the transport, whatever stands in between."""
        self.transport.write(data)
        if self._meter is not None:
            self._meter.wrote(len(data))

    def loseConnection(self) -> None:
        """Close once everything is sent; abort when the peer takes nothing for `close_timeout`."""
        if life := AFTER[self.life].get("close"):
            self.life, self._reason = life, self._reason or "closed"
            if self in self.context.pace.rests:
                self.context.pace.forget(self)
            self.context.deadlines.set(self, self.context.limits.close_timeout)
            self._output.finish()

    def abortConnection(self) -> None:
        """Drop everything and reset."""
        self.cut(self._reason or "aborted")

    def loseWriteConnection(self) -> None:
        """End our side once everything is sent; the peer may go on."""
        if life := AFTER[self.life].get("end"):
            self.life = life
            self._output.half_close()

    def startTLS(self, *arguments: Any) -> None:
        """Encrypt what is written from now on, as the transport's method does."""
        self.transport.startTLS(*arguments)
        self.route()

    def pauseProducing(self) -> None:
        """Stop reading from the peer."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, unless the peer does not read either."""
        self._paused = False
        self.read_on()

    def stopProducing(self) -> None:
        """Close, as `loseConnection`."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let `producer` be paused and resumed as the peer reads."""
        if self.life == "over":
            producer.stopProducing()
        else:
            self._output.register(producer, streaming=streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer, which has written its last."""
        self._output.unregister()

    # Whether data passes, and where it goes.

    def may_read(self) -> bool:
        """Return whether the plugin, the peer and the limits let it be read."""
        return self.life in READS and not (self._paused or self.held or self._output.choked)

    def read_on(self) -> None:
        """Read from the peer, if nothing speaks against it: first what was read already."""
        if self.may_read():
            if self in self.context.pace.rests:
                self.context.pace.wait(self)
            else:
                self.transport.resumeProducing()

    def hold(self) -> None:
        """Let nothing pass, as it has moved more than it may."""
        self.held = True
        self.transport.pauseProducing()
        self._output.pause()

    def let_go(self) -> None:
        """Let data pass again."""
        self.held = False
        self.read_on()
        self._output.resume()

    def route(self) -> None:
        """Choose what `write` and `dataReceived` are; nothing else does.

        Nothing stands between transport and plugin, unless each byte is looked at, the peer is behind or an
        end was asked for.
        """
        life, output, meter = self.life, self._output, self._meter
        if life in SILENT:
            self.write = self.dataReceived = _discard
            return
        if meter is not None and not meter.needed:
            self._meter = meter = None
        if output.choked or not output.watching or life not in WRITES:
            self.write = output.write_bounded
        else:
            write = getattr(self.transport, "direct_write", self.transport.write)
            self.write = write if meter is None else meter.stand_before(write)
        received = self._drop if life in CLOSES else self.deliver if meter is None else meter.receive
        if received != self.dataReceived:
            self.dataReceived = received
            if receive_directly := getattr(self.transport, "receive_directly", None):  # of sockd's reactor
                receive_directly(received)

    def _drop(self, data: bytes) -> None:  # noqa: ARG002  # as `deliver` has it
        """Drop what the peer sends to a connection that closes, and read on after a pause."""
        self.context.lingering.pause_reading(self.transport)


def _discard(_: bytes) -> None:
    """Drop what is written to a connection that is gone."""
