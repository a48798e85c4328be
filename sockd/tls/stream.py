"""The encryption of one accepted stream, between the reactor's transport and the shell.

To the transport below, a `TLSStream` is the protocol; to what is above, it is the transport. There is
nothing above until the handshake is complete: who has connected, but not said or proved anything yet, has
no session.

Each side of TLS ends by itself (RFC 8446, 6.1). The peer's `close_notify` is the end of what it sends, as
the end of the TCP stream is without TLS; a stream that ends without it may have been cut off by somebody
else, and is lost (`ConnectionLost`), not done. Our own end is a `close_notify` and the end of the TCP stream
with it, so that a peer that heeds only one of them sees it. What the peer then still sends is dropped until
it ends its side as well: to close at once would reset the stream if anything is under way from the peer,
and a reset destroys what the peer has not read yet. One that never ends its side is aborted by whoever set
a deadline for the close.

Nothing is buffered here: what is written goes down as ciphertext at once, what one read brings goes up as
one piece, unless what is above has paused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import interfaces
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.sockets.transport import passes_on, unsent_bytes
from sockd.tls.session import Session

Refusal = Literal[
    "peer closed",
    "aborted",
    "not tls",
    "tls version",
    "no shared cipher",
    "no shared protocol",
    "no client certificate",
    "client certificate refused",
    "certificate not trusted",
    "tls handshake failed",
]
"""Why there is no session. `certificate not trusted` is what the peer says of ours."""

_REFUSALS: Mapping[str, Refusal] = {
    "http request": "not tls",
    "https proxy request": "not tls",
    "wrong version number": "not tls",
    "unsupported protocol": "tls version",
    "no shared cipher": "no shared cipher",
    "no application protocol": "no shared protocol",
    "peer did not return a certificate": "no client certificate",
    "certificate verify failed": "client certificate refused",
    "tlsv1 alert unknown ca": "certificate not trusted",
    "tls alert bad certificate": "certificate not trusted",
    "tls alert certificate unknown": "certificate not trusted",
    "tls alert certificate expired": "certificate not trusted",
    "tls alert unsupported certificate": "certificate not trusted",
}
"""By OpenSSL's words."""

ASKED_BELOW = (
    *("getHost", "getPeer", "socket"),
    *("getTcpKeepAlive", "getTcpNoDelay", "setTcpKeepAlive", "setTcpNoDelay"),
)
"""What the transport below answers. Never all that it has: some of it would pass TLS by."""


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
    """One connection's encryption.

    Of `completed` and `failed`, one is called, once. Deadlines are their owner's business;
    `abortConnection` works at any time.

    Args:
        connection: OpenSSL's end of it, in accept state and not yet used.
        completed: called after the handshake, to set `protocol` and to call its `makeConnection`.
        failed: called with the reason when the connection is gone and there never was a session.
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
    """The transport below."""

    protocol: Any
    """What is above; None until the handshake is complete."""

    disconnecting: bool
    """Whether the end was asked for; what the peer sends is dropped from then on."""

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
        self._held: list[bytes] = []  # plaintext that came while nobody wanted to read
        self._paused = False  # nobody wants to read
        self._busy = False  # telling what has come
        self._eof = False  # of the transport below
        self._read_ended = False  # and it was told
        self._writable = False
        self._write_ending = False  # our side is to end when the producer has written its last
        self._producer: Any = None
        self._refusal: Refusal = "peer closed"
        self._reason: Failure | None = None  # for the end, if not the one from below

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # what is passed on

    # What the transport below calls.

    def makeConnection(self, transport: Any) -> None:
        """The stream is open, and the peer speaks first."""
        self.raw = transport
        self._session = Session(self._connection, transport)

    def dataReceived(self, data: bytes) -> None:
        """Decrypt it, and hand it up if somebody wants to read."""
        if self._read_ended:
            return
        plaintext = self._session.receive(data)
        if plaintext and not self.disconnecting:
            self._held.append(plaintext)
        self._tell()

    def readConnectionLost(self) -> None:
        """The peer sends no more, whether it has said so or not."""
        self._eof = True
        self._tell()

    def writeConnectionLost(self) -> None:
        """Our side has ended, and the kernel has everything."""
        if not self.disconnecting and (above := interfaces.IHalfCloseableProtocol(self.protocol, None)):
            above.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """It is over; called once."""
        if reason.check(ConnectionDone) and not (self._read_ended or self.disconnecting):
            self._reason = _lost("the peer did not end the TLS session")
        self._stop()
        if not self._up:
            self._failed(self._refusal)
        elif self.protocol is not None:
            protocol, self.protocol = self.protocol, None  # the two refer to each other
            protocol.connectionLost(self._reason or reason)

    def _tell(self) -> None:
        """Hand up what has come, as long as somebody wants to read, then how it ended."""
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

    # The ends that the peer brings about.

    def _end_reading(self) -> None:
        """The peer sends no more: because it has said so, or has not, or has broken TLS."""
        end = self._session.end
        if not self._up:
            if end == "broken":
                self._refusal = _REFUSALS.get(self._session.fault, "tls handshake failed")
                self._session.flush()  # the peer is told, as far as TLS has a word for it
            self._leave()
        elif self.disconnecting and not self._writable:
            self._leave()  # all was said
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
        """Give it up. What is sent may still arrive; nothing waits for a peer that takes nothing."""
        self._reason = _lost(message)
        behind = unsent_bytes(self.raw)
        self._session.flush()
        if behind:
            self.abortConnection()
        else:
            self._leave()

    def _leave(self) -> None:
        """Nothing more is read or written; the transport below sends what it has and closes."""
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

    # What is above calls, to write.

    def write(self, data: bytes) -> None:
        """Encrypt and send it; without effect once our side has ended."""
        if not isinstance(data, bytes):
            raise TypeError(f"expected bytes to write, found {type(data).__name__}")
        if self._writable and data:
            try:
                self._session.send(data)
            except SSL.Error:  # the peer has begun a message about the session and withholds the rest
                self._lose("the peer broke the TLS protocol")

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write all of it as one."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let the transport below, which has all that is not sent yet, pause and resume `producer`."""
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self._producer!r} was never unregistered")
        if self.disconnecting:
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        self.raw.registerProducer(producer, streaming)

    def _awaits_producer(self) -> bool:
        """Whether a producer has more to write: a push producer that is not paused has none."""
        if self._producer is None:
            return False
        return not self._streaming or bool(getattr(self.raw, "producerPaused", False))

    def unregisterProducer(self) -> None:
        """The producer has written its last."""
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
        """Read again, first of all what has come already."""
        if not self.disconnecting:
            self._read_on()

    def _read_on(self) -> None:
        self._paused = False
        self._tell()
        if not (self._paused or self._eof or self._read_ended):
            self.raw.resumeProducing()

    def stopProducing(self) -> None:
        """As `loseConnection`."""
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
        """Drop everything and reset."""
        self._stop()
        self._refusal = "aborted"
        self.raw.abortConnection()

    def _finish(self) -> None:
        self._end_writing()
        if self._read_ended:
            self._leave()

    def _end_writing(self) -> None:
        """Say that nothing more will come."""
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

    # To ask.

    @property
    def negotiatedProtocol(self) -> bytes | None:  # noqa: N802
        """What client and server have agreed to speak (ALPN), if they have."""
        return self._connection.get_alpn_proto_negotiated() or None

    def getPeerCertificate(self) -> X509 | None:  # noqa: N802
        """The client's, if it has shown one. It was verified then."""
        return self._connection.get_peer_certificate()

    def getHandle(self) -> SSL.Connection:
        """OpenSSL's end of it, as with Twisted's TLS."""
        return self._connection


def _lost(message: str) -> Failure:
    return Failure(ConnectionLost(message))
