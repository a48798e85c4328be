"""One open stream: Twisted's transport and uvloop's protocol in one object.

Data passes one Python call on its way in and one on its way out. Everything else here keeps what
protocols may rely on with Twisted's own transports: what is called, in what order, with which reason.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress
from socket import SHUT_RDWR, SO_LINGER, SOL_SOCKET
from typing import Any

from twisted.internet import error, tcp
from twisted.internet._newtls import startTLS
from twisted.python import log
from twisted.python.failure import Failure
from typing_extensions import override

HIGH_WATER = 64 * 1024
"""Bytes not taken by the kernel upon which a streaming producer is paused, as Twisted's `bufferSize`."""

DONE, LOST, ABORTED = (
    Failure(kind()) for kind in (error.ConnectionDone, error.ConnectionLost, error.ConnectionAborted)
)
RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: what is unsent is dropped, and a RST tells the peer so."""


class BareStream(tcp.Connection):
    """What TLS sees of a stream once it has come between the stream and its protocol."""

    reactor: Any
    protocol: Any
    producer: Any = None

    _uv: Any = None  # uvloop's transport, from `connection_made` to `connection_lost`
    _choked = False  # the peer does not take what it is sent
    _asking = False  # a pull producer is asked for more in the next turn
    _hearing = False  # uvloop tells about any unsent byte, for our sake and not for the producer's

    def _send(self, _: bytes, /) -> None:
        """Is uvloop's own `write` while there is somebody to write to."""

    @override
    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        self._send(data)

    @override
    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        try:
            data = b"".join(iovec)
        except TypeError:
            raise TypeError("Data must be bytes") from None
        self._send(data)

    @override
    def loseConnection(self) -> None:
        if not self.connected or self.disconnecting:
            return
        if self._writeDisconnected:
            self.connectionLost(DONE)
            return
        self.disconnecting = 1
        if self.producer is None or (self.streamingProducer and not self.producerPaused):
            self._uv.close()
        else:
            self._uv.pause_reading()

    @override
    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError(
                f"Cannot register producer {producer}, "
                f"because producer {self.producer} was never unregistered."
            )
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer, self.streamingProducer = producer, streaming
        if not streaming:
            self._send = self._send_and_ask  # type: ignore[method-assign]
            producer.resumeProducing()
            self._ask_soon()  # again, for something may have been written before it
        elif self._choked:  # uvloop will not say it again
            self.producerPaused = True
            producer.pauseProducing()

    @override
    def unregisterProducer(self) -> None:
        if self._send == self._send_and_ask:
            self._send = self._uv.write  # type: ignore[method-assign]
            self._uv.set_write_buffer_limits(HIGH_WATER, 0)
        self.producer = None
        self.producerPaused = False
        if self.connected and self.disconnecting:
            self._uv.close()

    # A pull producer is asked for more once for each time that everything is sent.

    def _send_and_ask(self, data: bytes, /) -> None:
        self._uv.write(data)
        self._ask_soon()

    def _ask_soon(self) -> None:
        if not self._asking:
            self._asking = True
            self.reactor.loop.call_soon(self._ask)

    def _ask(self) -> None:
        self._asking = False
        if self.producer is None or self.streamingProducer or self.disconnected:
            return
        if self._uv.get_write_buffer_size():
            self._hear_when_sent()
        else:
            self._resume_producer()

    def _resume_producer(self) -> None:
        self.producerPaused = False
        try:
            self.producer.resumeProducing()
        except BaseException:  # application code may raise anything
            self._fail()

    def _hear_when_sent(self) -> None:
        """Have `resume_writing` called when nothing is left, however little there is now."""
        self._hearing = True
        self._uv.set_write_buffer_limits(0, 0)
        self._hearing = False

    def _fail(self) -> None:
        """Application code has raised, and what it raised is the reason for the end."""
        log.err()
        self._lose(Failure())

    def _lose(self, reason: Failure) -> None:
        """As `connectionLost`, for when uvloop has called: of what that raises it would not tell."""
        try:
            self.connectionLost(reason)
        except BaseException:  # application code may raise anything
            log.err()


class Stream(BareStream):
    """A stream as protocols see it.

    Classes for accepted and for connected streams say in `_open` where their protocol comes from.
    """

    _paused = False  # the protocol does not want to read
    _peer_ended = False
    _stash: list[bytes] | None = None  # what came in spite of `_paused`; None where nothing can

    def _open(self) -> None:
        """Build the protocol and connect it."""
        raise NotImplementedError

    # What uvloop calls.

    def connection_made(self, uv: Any) -> None:
        """The stream is open."""
        self._uv = uv
        if self.disconnected:  # since it was handed over
            uv.abort()
            return
        self._send = uv.write  # type: ignore[method-assign]
        self._open()
        if self._uv is not None and self._paused and not self.disconnected:
            # uvloop reads as soon as this method returns, and cannot be stopped in this turn.
            self._stash = []
            self.data_received = self._stash.append  # type: ignore[method-assign]
            uv.set_protocol(self)
            self.reactor.loop.call_soon(self._pause_late)

    def data_received(self, data: bytes, /) -> None:
        """Hand it to whatever protocol there is now."""
        try:
            self.protocol.dataReceived(data)
        except BaseException:  # application code may raise anything
            self._fail()

    def eof_received(self) -> bool:
        """The peer has ended its side."""
        self._peer_ended = True
        if self._stash is None and not self.disconnected:
            try:
                self.readConnectionLost(DONE)
            except BaseException:  # application code may raise anything
                log.err()
        return True  # whether it is the end is not for uvloop to decide

    def connection_lost(self, error: Exception | None) -> None:
        """All is sent, or the peer is gone; uvloop closes the descriptor when this returns."""
        if not self.disconnected:
            flushed = self.disconnecting and error is None
            self._lose(ABORTED if self._aborting else DONE if flushed else LOST)
        self.reactor.closing.discard(self)
        self._uv = None

    def pause_writing(self) -> None:
        """The peer takes nothing more for now."""
        self._choked = True
        if self.producer is not None and self.streamingProducer and not self._hearing:
            self.producerPaused = True
            self.producer.pauseProducing()

    def resume_writing(self) -> None:
        """The peer has taken everything."""
        self._choked = False
        if self.disconnected:
            return
        if self.producer is not None and not self.streamingProducer:
            self._ask_soon()
        elif self.producer is not None and self.producerPaused:
            self._resume_producer()
        elif self._writeDisconnecting:
            self.reactor.loop.call_soon(self._end_writing)

    # Reading.

    def isReading(self) -> bool:
        """Whether what the peer sends is read, or will be as soon as the stream is open."""
        return not (self._paused or self._peer_ended or self.disconnecting)

    @override
    def startReading(self) -> None:
        self._paused = False
        if self._stash is not None:
            self.reactor.loop.call_soon(self._deliver_stash)
        elif self._uv is not None and not self._peer_ended:
            self._uv.resume_reading()

    @override
    def stopReading(self) -> None:
        self._paused = True
        if self._uv is not None:
            self._uv.pause_reading()

    @override
    def startWriting(self) -> None:
        """Nothing to do: uvloop writes by itself."""

    @override
    def stopWriting(self) -> None:
        """Nothing to do, as above."""

    def _pause_late(self) -> None:
        """Stop the reading that uvloop began although the protocol had paused."""
        if self.disconnected:
            return
        del self.data_received
        self._uv.set_protocol(self)
        self._uv.pause_reading()
        if not self._paused:  # any more
            self._deliver_stash()

    def _deliver_stash(self) -> None:
        if self._stash is None or "data_received" in self.__dict__:  # delivered, or still filling
            return
        while self._stash:
            if self._paused or self.disconnecting or self._aborting or self.disconnected:
                return
            self.data_received(self._stash.pop(0))
        if self._paused or self.disconnecting or self.disconnected:
            return
        self._stash = None
        if self._peer_ended:
            self.eof_received()
        else:
            self._uv.resume_reading()

    # Writing.

    @override
    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if self.TLS:
            if self.connected:
                self.protocol.write(data)
        else:
            self._send(data)

    @override
    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        if self.TLS:
            if self.connected:
                self.protocol.writeSequence(iovec)
        else:
            BareStream.writeSequence(self, iovec)

    @override
    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.TLS:
            self.protocol.registerProducer(producer, streaming)
        else:
            BareStream.registerProducer(self, producer, streaming)

    @override
    def unregisterProducer(self) -> None:
        if self.TLS:
            self.protocol.unregisterProducer()
        else:
            BareStream.unregisterProducer(self)

    @override
    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        startTLS(self, ctx, normal, BareStream)

    def getWriteBufferSize(self) -> int:
        """Bytes that were written and that the kernel has not yet taken."""
        return 0 if self._uv is None else int(self._uv.get_write_buffer_size())

    @property
    def _tempDataLen(self) -> int:
        """Where programs look that want to know how much Twisted's transports hold."""
        return self.getWriteBufferSize()

    @_tempDataLen.setter
    def _tempDataLen(self, _: int) -> None: ...

    # The end.

    @override
    def loseConnection(self) -> None:
        if self.TLS:
            if self.connected and not self.disconnecting:
                self.protocol.loseConnection()
        else:
            BareStream.loseConnection(self)

    @override
    def loseWriteConnection(self) -> None:
        if self.connected and not self._writeDisconnecting:
            self._writeDisconnecting = True
            self.reactor.loop.call_soon(self._end_writing)

    def _end_writing(self) -> None:
        if self.disconnected or self.disconnecting or self._writeDisconnected or self._aborting:
            return
        if self.producer is not None and (self.producerPaused or not self.streamingProducer):
            return
        if self._uv.get_write_buffer_size():
            self._hear_when_sent()
            return
        self._writeDisconnected = True
        self._send = _discard  # type: ignore[method-assign]
        self._closeWriteConnection()

    @override
    def abortConnection(self) -> None:
        if self.disconnected or self._aborting:
            return
        self._aborting = True
        self._send = _discard  # type: ignore[method-assign]
        if self._uv is not None:
            with suppress(OSError):
                self.socket.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
            self._uv.abort()

    @override
    def connectionLost(self, reason: Failure) -> None:
        if self.disconnected:
            return
        self.disconnected, self.connected = 1, 0
        self._send = _discard  # type: ignore[method-assign]
        self.reactor.native.discard(self)
        if self._uv is None:  # handed over, but not yet open
            return
        self.reactor.closing.add(self)
        producer, self.producer = self.producer, None
        protocol, self.protocol = self.protocol, None
        try:
            if producer is not None:
                producer.stopProducing()
        finally:
            self._let_go()
            self._uv.abort()
            del self.protocol
            protocol.connectionLost(reason)

    def _let_go(self) -> None:
        """The descriptor is uvloop's to close; end what shares it."""
        handle = self._handle()
        if not self._aborting:
            with suppress(OSError):
                handle.shutdown(SHUT_RDWR)
        handle.detach()
        self.__dict__.pop("socket", None)

    def _handle(self) -> Any:
        return self.socket


def _discard(_: bytes, /) -> None:
    """What is written to a stream that is gone."""
