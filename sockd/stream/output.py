"""Writing side of a connection: what is done when the peer leaves its output unread."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet import interfaces
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.sockets.transport import unsent_bytes
from sockd.stream.context import StreamContext
from sockd.stream.states import READS, State

DONE = Failure(ConnectionDone())
"""Reason that a plugin gets which has ended its connection itself."""


class Written(Protocol):
    """Connection, as its writing side sees it."""

    @property
    def context(self) -> StreamContext:
        """Context of its service."""

    @property
    def transport(self) -> Any:
        """Transport of the reactor, or what encrypts on top of it."""

    @property
    def life(self) -> State:
        """State of its life."""

    @property
    def disconnecting(self) -> bool:
        """Return whether the end of both sides was asked for."""

    @property
    def held(self) -> bool:
        """Return whether it has moved more than it may."""

    def route(self) -> None:
        """Choose anew where data goes, by what the writing side is like."""

    def read_on(self) -> None:
        """Read from the peer again, if nothing speaks against it."""

    def write_on(self, data: bytes) -> None:
        """Write to the transport."""

    def quiet_for(self) -> float:
        """Return the seconds since a byte last moved."""

    def cut(self, reason: str) -> None:
        """Abort it."""

    def fault(self, callback: str) -> None:
        """End it, as its plugin has raised in a callback."""

    def connectionLost(self, reason: Failure) -> None:
        """Tell the plugin that it is over."""


@implementer(interfaces.IPushProducer)
class Output:
    """Producer that the transport pauses when the peer does not take what it is sent.

    Until then nothing is counted: the connection's `write` is the transport's own. The connection cannot be
    this itself, for it has the same methods for the opposite direction.

    Attributes:
        choked: whether the peer does not take what it is sent.
        watching: whether the transport tells so; else each write is counted.
        producer: the plugin's, if it has registered one.
        pulled: whether that one writes only when it is asked.
    """

    __slots__ = ("_connection", "_unsent", "choked", "producer", "pulled", "watching")

    def __init__(self, connection: Written) -> None:
        self._connection = connection
        self.producer: Any = None
        self.pulled = False
        self.choked = False
        self.watching = False
        self._unsent = 0  # when it was last looked at, while closing

    def watch(self) -> None:
        """Hear from the transport when the peer leaves its output unread."""
        self.watching = True
        self._connection.transport.registerProducer(self, True)
        self._connection.route()

    def unwatch(self) -> None:
        """Count every write instead: a transport resumes a paused producer where it should end."""
        if self.watching:
            self.watching = self.choked = False
            self._connection.transport.unregisterProducer()
            self._connection.route()
            if self._connection.life in READS:
                self._connection.read_on()

    def half_close(self) -> None:
        """End our side once everything is sent; the peer may go on."""
        self._end()
        self._connection.transport.loseWriteConnection()

    def finish(self) -> None:
        """End our side once everything is sent, then leave.

        Meanwhile what the peer sends is read and dropped: a peer that writes all before it reads comes to
        read only so.
        """
        connection = self._connection
        self._end()
        if connection.life != "closing":
            self.leave()
            return
        connection.transport.resumeProducing()
        if self.producer is None or not (self.pulled or self.choked):  # else its last has yet to come
            connection.transport.loseWriteConnection()

    def _end(self) -> None:
        """Count every write from now on: what the peer does not take now it may never take."""
        self._unsent = self.unsent()
        if self.watching and self.producer is None:
            self.unwatch()
        else:
            self._connection.route()

    def leave(self) -> None:
        """Part from the plugin once our side has ended: free the place, and let the socket linger."""
        connection, transport = self._connection, self._connection.transport
        if connection.life == "leaving":
            transport.loseConnection()
            return
        if self.watching or self.pulled:
            self.watching = self.pulled = False
            transport.unregisterProducer()
        self.stopProducing()
        if connection.life != "closed":  # the plugin's producer has raised: the connection is aborted
            return
        connection.connectionLost(DONE)
        if (hand_over := getattr(transport, "hand_over", None)) is not None:  # of TLS, which has said all
            transport = hand_over()
        connection.context.lingering.take(transport)

    def is_taken(self) -> bool:
        """Return whether the peer took some of it since this was last asked, or since the end began."""
        connection = self._connection
        before, self._unsent = self._unsent, self.unsent()
        refilled = (
            self.producer is not None and connection.quiet_for() < connection.context.limits.close_timeout
        )
        return self._unsent < before or refilled

    def close(self) -> None:
        """Forget what is unsent, as the connection is gone."""
        self.watching = False
        self._connection.context.unread.forget(self)

    def unsent(self) -> int:
        """Return the bytes that wait for the peer."""
        return unsent_bytes(self._connection.transport)

    def is_left(self) -> bool:
        """Return whether something waits for the peer, or may still come."""
        return self.producer is not None or self.unsent() > 0

    def cut(self, reason: str) -> None:
        """Abort the connection."""
        self._connection.cut(reason)

    def write_bounded(self, data: bytes) -> None:
        """Write for the plugin, and abort the connection where more would wait than the limit allows."""
        connection = self._connection
        unsent = self.unsent() + len(data)
        if unsent > connection.context.limits.max_unread_output:
            connection.cut("unread output")
        else:
            connection.write_on(data)
            connection.context.unread.note(self, unsent)

    # The plugin's producer.

    def register(self, producer: Any, *, streaming: bool) -> None:
        """Let `producer` be paused and resumed as the peer reads."""
        if self.producer is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self.producer!r} was never unregistered")
        self.producer, self.pulled = producer, not streaming
        if self.pulled:
            self.unwatch()
            self._connection.transport.registerProducer(self, False)
        elif self.choked or self._connection.held:
            self.pause()

    def unregister(self) -> None:
        """Forget the producer, which has written its last."""
        if self.producer is None:
            return
        connection = self._connection
        self.producer = None
        if self.pulled:
            self.pulled = False
            connection.transport.unregisterProducer()
            if not connection.disconnecting:
                self.watch()
        elif connection.disconnecting:
            self.unwatch()
        if connection.life == "closing":  # the end of our side was asked for, and has waited for this
            connection.transport.loseWriteConnection()

    def pause(self) -> None:
        """Let the plugin write no more for now, if it can be told."""
        if self.producer is not None and not self.pulled:
            self._tell(self.producer, "pauseProducing")

    def resume(self) -> None:
        """Let it write again, if nothing speaks against it."""
        if self.producer is not None and not (self.choked or self._connection.held):
            self._tell(self.producer, "resumeProducing")

    def _tell(self, producer: Any, what: str) -> None:
        try:
            getattr(producer, what)()
        except BaseException:  # a plugin may raise anything, and whoever made it write is not to blame
            self._connection.fault(what)

    # What the transport calls.

    def pauseProducing(self) -> None:
        """Read no more from a peer that leaves output unread, and count what is still written to it."""
        connection = self._connection
        self.choked = True
        connection.route()
        connection.context.unread.note(self, self.unsent())
        connection.transport.pauseProducing()
        self.pause()

    def resumeProducing(self) -> None:
        """Read on, as the peer has taken everything."""
        connection = self._connection
        self.choked = False
        connection.context.unread.forget(self)
        if self.watching and not connection.disconnecting:
            connection.route()
            connection.read_on()
        self.resume()

    def stopProducing(self) -> None:
        """Stop the plugin's producer, as the connection is gone."""
        producer, self.producer = self.producer, None
        if producer is not None:
            self._tell(producer, "stopProducing")


GONE = Output(None)  # type: ignore[arg-type]
"""Writing side of every connection that is over; no connection's in particular."""
