"""Both ends of a TLS connection in memory: a client, and the server's `TLSStream` over a fake transport."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.tls.credentials import Credentials
from sockd.tls.stream import TLSStream
from tests.tls.authority import Issued

HIGH_WATER = 64 * 1024
"""Bytes not taken at which the transport pauses a streaming producer."""


class Raw:
    """TCP transport with Twisted's contract, whose peer takes what it is sent unless it is `stuck`."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.stuck = False
        self.taken = b""
        self.dataBuffer = b""
        self.writes = 0
        self.reading = True
        self.producer: Any = None
        self.streaming = True
        self.choked = False
        self.closing = False
        self.aborted = False
        self.half_closing = False
        self.half_closed = False
        self.lost = False

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.writeSequence([data])

    def writeSequence(self, data: Sequence[bytes]) -> None:
        if self.half_closed or self.lost:
            return
        self.writes += 1
        self.dataBuffer += b"".join(data)
        if len(self.dataBuffer) > HIGH_WATER and self.producer and self.streaming and not self.choked:
            self.choked = True
            self.producer.pauseProducing()

    def turn(self) -> None:
        """Do what a transport does between calls."""
        if not self.stuck:
            self.taken, self.dataBuffer = self.taken + self.dataBuffer, b""
        if self.lost or (self.dataBuffer and not self.aborted):
            return
        if self.aborted:
            self.lose(ConnectionAborted())
        elif self.producer is not None and (self.choked or not self.streaming):
            self.choked = False
            self.producer.resumeProducing()
        elif self.closing:
            self.lose(ConnectionDone())
        elif self.half_closing and not self.half_closed:
            self.half_closed = True
            if (protocol := IHalfCloseableProtocol(self.protocol, None)) is not None:
                protocol.writeConnectionLost()

    def lose(self, reason: Exception) -> None:
        self.lost = True
        if self.producer is not None:
            self.producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))

    def end_of_file(self) -> None:
        """End the peer's side of TCP."""
        if not self.closing and not self.lost:
            assert IHalfCloseableProtocol.providedBy(self.protocol)
            self.protocol.readConnectionLost()

    def loseConnection(self) -> None:
        self.closing = True

    def loseWriteConnection(self) -> None:
        self.half_closing = True

    def abortConnection(self) -> None:
        self.aborted = True

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer, self.streaming = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 40112)


class Client:
    """TLS client; the test passes its ciphertext on.

    With `again`, the client resumes an earlier session.
    """

    def __init__(
        self,
        *,
        name: bytes = b"",
        version: int = SSL.TLS1_3_VERSION,
        ciphers: bytes = b"DEFAULT:@SECLEVEL=0",
        identity: Issued | None = None,
        trust: Issued | None = None,
        alpn: Sequence[bytes] = (),
        again: Client | None = None,
    ) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_cipher_list(ciphers)
        if trust is not None:
            store = context.get_cert_store()
            assert store is not None
            store.add_cert(X509.from_cryptography(trust.certificate))
            context.set_verify(SSL.VERIFY_PEER)
        if alpn:
            context.set_alpn_protos(list(alpn))
        self.tls: SSL.Connection = SSL.Connection(again.tls.get_context() if again else context, None)
        if identity is not None:
            self.tls.use_certificate(identity.certificate)
            self.tls.use_privatekey(identity.key)
        if name:
            self.tls.set_tlsext_host_name(name)
        if again is not None:
            session = again.tls.get_session()
            assert session is not None
            self.tls.set_session(session)
        self.tls.set_connect_state()
        self.ready = False
        self.heard = b""
        self.told_to_close = False
        self.error = ""

    def speak(self) -> bytes:
        """Return the ciphertext that it has to send."""
        if not (self.ready or self.error):
            try:
                self.tls.do_handshake()
                self.ready = True
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.error = error.args[0][-1][-1]
        said = b""
        with suppress(SSL.WantReadError):
            while True:
                said += self.tls.bio_read(65536)
        return said

    def hear(self, data: bytes) -> None:
        if data:
            self.tls.bio_write(data)
        if self.error or not self.ready:
            return
        try:
            while True:
                self.heard += self.tls.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.told_to_close = True
        except SSL.Error as error:
            self.error = error.args[0][-1][-1]

    def encrypt(self, data: bytes) -> bytes:
        self.tls.sendall(data)
        return self.speak()

    def close_notify(self) -> bytes:
        self.tls.shutdown()
        return self.speak()


class Recorder(Protocol):
    """Protocol that records what happens to it."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.made = 0
        self.ends: list[str] = []

    @property
    def data(self) -> bytes:
        return b"".join(self.reads)

    def connectionMade(self) -> None:
        self.made += 1

    def dataReceived(self, data: bytes) -> None:
        self.reads.append(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        assert reason.type is not None
        self.ends.append(reason.type.__name__)


@implementer(IHalfCloseableProtocol)
class HalfCloser(Recorder):
    """Protocol that is told which side has ended."""

    def readConnectionLost(self) -> None:
        self.ends.append("read")

    def writeConnectionLost(self) -> None:
        self.ends.append("write")


class Pair:
    """Client and the server's stream, with the wire between them."""

    def __init__(self, credentials: Credentials, client: Client, protocol: Protocol | None = None) -> None:
        self.client = client
        self.protocol: Any = Recorder() if protocol is None else protocol
        self.completed = 0
        self.failures: list[str] = []
        self.raw = Raw()
        self.stream = TLSStream(credentials.connection(), self._complete, self.failures.append)
        self.raw.protocol = self.stream
        self.stream.makeConnection(self.raw)
        self._arrived = 0

    def _complete(self, stream: TLSStream) -> None:
        self.completed += 1
        stream.protocol = self.protocol
        self.protocol.makeConnection(stream)

    def to_server(self, data: bytes) -> None:
        if data and self.raw.reading and not (self.raw.closing or self.raw.lost):
            self.stream.dataReceived(data)

    def to_client(self) -> None:
        data, self._arrived = self.raw.taken[self._arrived :], len(self.raw.taken)
        self.client.hear(data)

    def exchange(self) -> None:
        """Pass ciphertext on until neither end has more to send."""
        for _ in range(8):
            self.to_server(self.client.speak())
            self.raw.turn()
            self.to_client()

    def say(self, data: bytes) -> None:
        """Let the client send data, in one read of the server's."""
        self.to_server(self.client.encrypt(data))
        self.exchange()


def connected(credentials: Credentials, protocol: Protocol | None = None, **client: Any) -> Pair:
    """Return a pair after its handshake."""
    pair = Pair(credentials, Client(**client), protocol)
    pair.exchange()
    assert pair.completed == 1, (pair.failures, pair.client.error)
    return pair
