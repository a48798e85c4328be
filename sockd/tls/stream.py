"""Encryption of one accepted stream, between the reactor's transport and the shell.

A `TLSStream` is the protocol of the transport below, and the transport of the protocol above. The protocol
above exists only after the handshake: a peer that has connected without a handshake has no session.

Each side of TLS ends by itself (RFC 8446, 6.1). The peer's `close_notify` ends what it sends, as the end of
the TCP stream does without TLS. A stream that ends without it may have been cut by an attacker: it is lost
(`ConnectionLost`), not done. Our own end is a `close_notify` together with the end of the TCP stream, so that
a peer that heeds only one of them sees it. What the peer still sends is then dropped until it ends its side
as well. An immediate close would reset the stream if bytes of the peer are under way, and a reset destroys
what the peer has not read yet. A peer that never ends its side is aborted by the deadline for the close.

Nothing is buffered here: written data goes down as ciphertext at once, and the data of one read goes up as
one piece, unless the protocol above has paused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import interfaces
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.sockets.transport import passes_on, unsent_bytes
from sockd.tls.refusal import REFUSALS, Refusal
from sockd.tls.session import Session

ASKED_BELOW = (
    *("getHost", "getPeer", "socket"),
    *("getTcpKeepAlive", "getTcpNoDelay", "setTcpKeepAlive", "setTcpNoDelay"),
)
"""Names that the transport below answers. Some others would bypass TLS."""


@passes_on("raw", *ASKED_BELOW)
@implementer(
    interfaces.IProtocol,
    interfaces.IHalfCloseableProtocol,
    interfaces.ISSLTransport,
    interfaces.INegotiated,
    interfaces.IConsumer,
    interfaces.IPushProducer,
    interfaces.ISystemHandle,
)
class TLSStream:
    """Encryption of one connection.

    Exactly one of `completed` and `failed` is called, once. The owner sets deadlines; `abortConnection` works
    at any time.

    Args:
        connection: OpenSSL's end of it, in accept state and not yet used.
        completed: called after the handshake; sets `protocol` and calls its `makeConnection`.
        failed: called with the reason when the connection is lost without a session.
        close: closes the transport below once everything is sent, without a reset.
    """

    __slots__ = (
        "_busy",
        "_close",
        "_completed",
        "_connection",
        "_eof",
        "_failed",
        "_held",
        "_paused",
        "_producer",
        "_read_ended",
        "_reason",
        "_refusal",
        "_session",
        "_streaming",
        "_up",
        "_writable",
        "_write_ending",
        "disconnecting",
        "protocol",
        "raw",
    )

    raw: Any
    """Transport below."""

    protocol: Any
    """Protocol above; None until the handshake is complete."""

    disconnecting: bool
    """True once the close has begun; what the peer sends is dropped from then on."""

    def __init__(
        self,
        connection: SSL.Connection,
        completed: Callable[[TLSStream], None],
        failed: Callable[[Refusal], None],
        close: Callable[[Any], None] | None = None,
    ) -> None:
        self._connection = connection
        self._completed = completed
        self._failed = failed
        self._close = close
        self.protocol = None
        self.disconnecting = False
        self._up = False  # the handshake is complete
        self._held: list[bytes] = []  # plaintext that came while reading was paused
        self._paused = False  # the protocol above has paused reading
        self._busy = False  # `_tell` runs
        self._eof = False  # the transport below has ended
        self._read_ended = False  # and the protocol above was told
        self._writable = False
        self._write_ending = False  # end our side after the producer's last write
        self._producer: Any = None
        self._refusal: Refusal = "peer closed"
        self._reason: Failure | None = None  # for the end, if another than the one from below

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # names that are passed on

    # Called by the transport below.

    def makeConnection(self, transport: Any) -> None:
        """Start the session; the peer speaks first."""
        self.raw = transport
        self._session = Session(self._connection, transport)

    def dataReceived(self, data: bytes) -> None:
        """Decrypt the data, and pass it on unless reading is paused."""
        if self._read_ended:
            return
        plaintext = self._session.receive(data)
        if plaintext and not self.disconnecting:
            self._held.append(plaintext)
        self._tell()

    def readConnectionLost(self) -> None:
        """Note that the peer sends no more, with or without a `close_notify`."""
        self._eof = True
        self._tell()

    def writeConnectionLost(self) -> None:
        """Tell the protocol that our side has ended and the kernel has everything."""
        if not self.disconnecting and (above := interfaces.IHalfCloseableProtocol(self.protocol, None)):
            above.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """Tell the owner that the stream has ended; called once."""
        if reason.check(ConnectionDone) and not (self._read_ended or self.disconnecting):
            self._reason = _lost("the peer did not end the TLS session")
        self._stop()
        if not self._up:
            self._failed(self._refusal)
        elif self.protocol is not None:
            protocol, self.protocol = self.protocol, None  # the two refer to each other
            protocol.connectionLost(self._reason or reason)

    def _tell(self) -> None:
        """Pass on what has come, unless reading is paused, then the end."""
        if self._busy:
            return
        self._busy = True
        try:
            while not (self._paused or self._read_ended):
                if self._session.established and not self._up:
                    self._up = self._writable = True
                    self._completed(self)
                elif self._held:
                    self.protocol.dataReceived(self._held.pop(0))
                elif self._session.end or self._eof:
                    self._read_ended = True
                    self._end_reading()
                else:
                    break
        finally:
            self._busy = False

    # Ends that the peer causes.

    def _end_reading(self) -> None:
        """Act on the end of the peer's side: with a `close_notify`, without one, or by a broken record."""
        end = self._session.end
        if not self._up:
            if end == "broken":
                self._refusal = REFUSALS.get(self._session.fault, "tls handshake failed")
                self._session.flush()  # sends the peer an alert, where TLS has one
            self._leave()
        elif self.disconnecting and not self._writable:
            self._leave()  # everything was sent
        elif end == "broken":
            self._lose("the peer broke the TLS protocol")
        elif not self.disconnecting:
            self._end_session(said=end == "closed")

    def _end_session(self, *, said: bool) -> None:
        if not said:
            self._lose("the peer did not end the TLS session")
        elif above := interfaces.IHalfCloseableProtocol(self.protocol, None):
            above.readConnectionLost()
        else:
            self.disconnecting = True
            self._finish()

    def _lose(self, message: str) -> None:
        """Close a broken stream. Sent data may still arrive; a peer that takes nothing is not waited for."""
        self._reason = _lost(message)
        behind = unsent_bytes(self.raw)
        self._session.flush()
        if behind:
            self.abortConnection()
        else:
            self._leave()

    def _leave(self) -> None:
        """Stop reading and writing; the transport below sends what it has and closes."""
        self._stop()
        producer, self._producer = self._producer, None
        if producer is not None:
            self.raw.unregisterProducer()  # it would be waited for
            producer.stopProducing()
        if self._eof or self._close is None:
            self.raw.loseConnection()
        else:
            self._close(self.raw)
            self.connectionLost(Failure(ConnectionDone()))

    def _stop(self) -> None:
        self.disconnecting = self._read_ended = True
        self._writable = False
        self._held.clear()

    # Called by the protocol above, to write.

    def write(self, data: bytes) -> None:
        """Encrypt and send data; does nothing once our side has ended."""
        if not isinstance(data, bytes):
            raise TypeError(f"expected bytes to write, found {type(data).__name__}")
        if self._writable and data:
            try:
                self._session.send(data)
            except SSL.Error:  # the peer has begun a message about the session and withholds the rest
                self._lose("the peer broke the TLS protocol")

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write all pieces as one."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let the transport below, which holds all unsent data, pause and resume `producer`."""
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self._producer!r} was never unregistered")
        if self.disconnecting:
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        self.raw.registerProducer(producer, streaming)

    def _awaits_producer(self) -> bool:
        """Tell whether a producer has more to write: a push producer that is not paused has none."""
        if self._producer is None:
            return False
        return not self._streaming or bool(getattr(self.raw, "producerPaused", False))

    def unregisterProducer(self) -> None:
        """Forget the producer, which has written its last."""
        if self._producer is None:
            return
        self._producer = None
        self.raw.unregisterProducer()
        if self.disconnecting:
            self._finish()
        elif self._write_ending:
            self._end_writing()

    # To read.

    def pauseProducing(self) -> None:
        """Read no more for now."""
        if not self.disconnecting:
            self._paused = True
            self.raw.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, beginning with what has come already."""
        if not self.disconnecting:
            self._read_on()

    def _read_on(self) -> None:
        self._paused = False
        self._tell()
        if not (self._paused or self._eof or self._read_ended):
            self.raw.resumeProducing()

    def stopProducing(self) -> None:
        """Close, as `loseConnection` does."""
        self.loseConnection()

    # To end.

    def loseConnection(self) -> None:
        """Close once everything is written and the peer has ended its side."""
        if self.disconnecting:
            return
        if not self._up:
            self._refusal = "aborted"
            self._leave()
            return
        self.disconnecting = True
        self._held.clear()
        if not self._awaits_producer():
            self._finish()
        self._read_on()

    def loseWriteConnection(self) -> None:
        """End our side once everything is written; the peer may go on."""
        self._write_ending = True
        if not self._awaits_producer():
            self._end_writing()

    def abortConnection(self) -> None:
        """Drop everything and reset the stream."""
        self._stop()
        self._refusal = "aborted"
        self.raw.abortConnection()

    def _finish(self) -> None:
        self._end_writing()
        if self._read_ended:
            self._leave()

    def _end_writing(self) -> None:
        """Send the end of our side."""
        if self._writable:
            self._writable = False
            self._session.close()
            if not self._read_ended or not self.disconnecting:
                self.raw.loseWriteConnection()

    def hand_over(self) -> Any:
        """Give away the transport below once all is sent, to be closed without a reset."""
        self._stop()
        self.protocol = None
        return self.raw

    # Facts.

    @property
    def negotiatedProtocol(self) -> bytes | None:  # noqa: N802
        """Protocol that client and server have agreed on (ALPN); None without one."""
        return self._connection.get_alpn_proto_negotiated() or None

    def getPeerCertificate(self) -> X509 | None:  # noqa: N802
        """Return the client's verified certificate; None if it has shown none."""
        return self._connection.get_peer_certificate()

    def getHandle(self) -> SSL.Connection:
        """Return OpenSSL's connection, as Twisted's TLS does."""
        return self._connection


def _lost(message: str) -> Failure:
    return Failure(ConnectionLost(message))
