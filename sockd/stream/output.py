"""The writing side of a connection: what is done when the peer leaves its output unread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import interfaces
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.sockets.transport import unsent_bytes

if TYPE_CHECKING:
    from sockd.stream.connection import Connection

RELIEF = 0.9
"""Of the bound on all unread output, what is left once connections had to be cut for it: not each single
write after it shall look for the next one."""


DONE = Failure(ConnectionDone())
"""The reason that a plugin gets which has ended its connection itself."""


class Unread:
    """The unread output of all connections of a process, bounded as a whole.

    Args:
        most: bytes.
    """

    __slots__ = ("_held", "_total", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: dict[Output, int] = {}
        self._total = 0

    def note(self, output: Output, size: int) -> None:
        """So much waits for the peer of one connection."""
        self._total += size - self._held.get(output, 0)
        self._held[output] = size
        if self._total > self.most:
            self._relieve()

    def forget(self, output: Output) -> None:
        """Nothing waits for it any more."""
        self._total -= self._held.pop(output, 0)

    def _relieve(self) -> None:
        """Cut those who leave most unread, if peers have not taken enough since it was noted."""
        self._held = {output: output.unsent() for output in self._held}
        self._total = sum(self._held.values())
        if self._total <= self.most:
            return
        for output in sorted(self._held, key=self._held.__getitem__, reverse=True):
            if self._total <= self.most * RELIEF:
                break
            self.forget(output)
            output.cut("unread output of all")


@implementer(interfaces.IPushProducer)
class Output:
    """To the transport the producer that it pauses when the peer does not take what it is sent.

    Until then nothing is counted: the connection's `write` is the transport's own. The connection cannot be
    this itself, for it has the same methods for the opposite direction.
    """

    __slots__ = ("_connection", "_unsent", "choked", "ended", "ending", "producer", "pulled", "watching")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.producer: Any = None  # the plugin's, if it has registered one
        self.pulled = False  # it writes only when it is asked
        self.choked = False  # the peer does not take what it is sent
        self.watching = False
        self.ending = self.ended = False  # our side, as the plugin wished
        self._unsent = 0  # when it was last looked at, while closing

    def watch(self) -> None:
        """Hear from the transport when the peer leaves its output unread."""
        self.watching = True
        self._connection.transport.registerProducer(self, True)
        self._connection.pass_through()

    def unwatch(self) -> None:
        """Count every write instead: a transport resumes a paused producer where it should end."""
        if self.watching:
            self.watching = False
            self._connection.transport.unregisterProducer()
            self._connection.write = self.write_bounded
            self.choked = False
            self._connection.read_on()

    def end(self) -> None:
        """Nothing may follow: what the peer does not take now it may never take."""
        self._connection.write = self.write_bounded
        self._unsent = self.unsent()
        if self.producer is None:
            self.unwatch()

    def half_close(self) -> None:
        """End our side once everything is sent; the peer may go on."""
        self.ending = True
        self.end()
        self._connection.transport.loseWriteConnection()

    def finish(self) -> None:
        """End our side once everything is sent, then leave; meanwhile read on, but hand nothing on.

        A peer that writes all before it reads comes to read only so.
        """
        connection, transport = self._connection, self._connection.transport
        self.end()
        if connection.peer_ended or self.ended:
            self.leave()
            return
        rest = connection.connections.lingering.rest
        connection.dataReceived = lambda _: rest(transport)
        if receive_directly := getattr(transport, "receive_directly", None):  # of sockd's reactor
            receive_directly(connection.dataReceived)
        transport.resumeProducing()
        if self.producer is None or not (self.pulled or self.choked):  # else its last has yet to come
            transport.loseWriteConnection()

    def leave(self) -> None:
        """Part from the plugin once our side has ended: free the place, and let the socket linger."""
        connection, transport = self._connection, self._connection.transport
        if connection.peer_ended:
            transport.loseConnection()
            return
        if self.watching or self.pulled:
            transport.unregisterProducer()
        self.stopProducing()
        connection.connectionLost(DONE)
        if (hand_over := getattr(transport, "hand_over", None)) is not None:  # of TLS, which has said all
            transport = hand_over()
        connection.connections.lingering.take(transport)

    def is_taken(self) -> bool:
        """Whether, since it was last asked or the end began, the peer took some of it."""
        connection = self._connection
        before, self._unsent = self._unsent, self.unsent()
        refilled = (
            self.producer is not None and connection.quiet_for() < connection.connections.limits.close_timeout
        )
        return self._unsent < before or refilled

    def close(self) -> None:
        """The connection is gone."""
        self.watching = False
        self._connection.connections.unread.forget(self)

    def unsent(self) -> int:
        """Bytes that wait for the peer."""
        return unsent_bytes(self._connection.transport)

    def is_left(self) -> bool:
        """Whether something waits for the peer, or may still come, or our side is to end first."""
        return self.ending or self.producer is not None or self.unsent() > 0

    def cut(self, reason: str) -> None:
        """Abort the connection."""
        self._connection.cut(reason)

    def write_bounded(self, data: bytes) -> None:
        """For the plugin, while the peer is behind."""
        connection = self._connection
        unsent = self.unsent() + len(data)
        if unsent > connection.connections.limits.max_unread_output:
            connection.cut("unread output")
        else:
            connection.write_on(data)
            connection.connections.unread.note(self, unsent)

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
        """The producer has written its last."""
        if self.producer is None:
            return
        self.producer = None
        if self.pulled:
            self.pulled = False
            self._connection.transport.unregisterProducer()
            if not self._connection.disconnecting:
                self.watch()
        elif self._connection.disconnecting:
            self.unwatch()
        if self._connection.disconnecting:
            self._end_writing()

    def _end_writing(self) -> None:
        """End our side, as was asked for, now that the producer has written its last."""
        if not (self._connection.peer_ended or self.ended):
            self._connection.transport.loseWriteConnection()

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
        """The peer leaves output unread: read no more from it, and count what is still written."""
        connection = self._connection
        self.choked = True
        connection.write = self.write_bounded
        connection.connections.unread.note(self, self.unsent())
        connection.transport.pauseProducing()
        self.pause()

    def resumeProducing(self) -> None:
        """The peer has taken everything."""
        connection = self._connection
        self.choked = False
        connection.connections.unread.forget(self)
        if self.watching and not connection.disconnecting:
            connection.pass_through()
            connection.read_on()
        self.resume()

    def stopProducing(self) -> None:
        """The connection is gone."""
        producer, self.producer = self.producer, None
        if producer is not None:
            self._tell(producer, "stopProducing")


GONE = Output(None)  # type: ignore[arg-type]
"""Of every connection that is over; no connection's in particular."""
