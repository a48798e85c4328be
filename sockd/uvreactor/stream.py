"""Open stream: Twisted's transport and uvloop's protocol in one object.

Data costs one Python call on the way in and one on the way out. The rest keeps what protocols may expect of
Twisted's own transports: the calls, their order, and the reason of the end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from twisted.internet._newtls import startTLS
from twisted.python import log
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.uvreactor.bare import ABORTED, DONE, LOST, BareStream
from sockd.uvreactor.buffered import BufferedProtocol, Sink

RESET = struct.pack("ii", 1, 0)
"""Value of SO_LINGER that drops what is unsent and sends a RST to the peer."""


class Stream(BareStream):
    """Stream as protocols see it.

    Subclasses for accepted and for connected streams define in `_open` where the protocol comes from.
    """

    _paused = False  # the protocol has paused reading
    _peer_ended = False
    _stash: list[bytes] | None = None  # data that came before the protocol may have it; None afterwards
    _young = False  # the turn in which it was opened is not over
    _fills = False  # a sink has the buffers that are read into
    _direct: Callable[[bytes], None] | None = None  # argument of `receive_directly`, until the stash is empty

    def _open(self) -> None:
        """Build the protocol and connect it."""
        raise NotImplementedError

    # Called by uvloop.

    def connection_made(self, uv: Any) -> None:
        """Open the stream."""
        self._uv = uv
        if self.disconnected:  # closed since it was handed over
            uv.abort()
            return
        self._send = uv.write  # type: ignore[method-assign]
        self._open()
        if self._uv is None or self.disconnected:
            return
        if self._paused or self.reactor.has_calls:
            # uvloop reads as soon as this method returns, and cannot be stopped in this turn. Calls that
            # `connectionMade` has delayed to the next turn are queued by now, and run before `_begin`.
            self._stash = []
            self._young = True
            self._direct = self.__dict__.pop("data_received", None)
            if self._direct is not None:
                uv.set_protocol(self)
            self.reactor.loop.call_soon(self._begin)

    def _receive_by(self, receive: Callable[[bytes], None]) -> None:
        """Let uvloop call `receive` with what it reads; uvloop looks it up in `set_protocol` only."""
        self.data_received = receive  # type: ignore[method-assign]
        self._uv.set_protocol(self)

    def data_received(self, data: bytes, /) -> None:
        """Pass data to the present protocol.

        A protocol that never raises and passes its data on by itself saves this call by `receive_directly`.
        """
        if self._stash is not None:
            self._stash.append(data)
            return
        try:
            self.protocol.dataReceived(data)
        except BaseException:  # application code may raise anything
            self._fail()

    def eof_received(self) -> bool:
        """Note that the peer has ended its side."""
        self._peer_ended = True
        if self._stash is None and not self.disconnected:
            try:
                self.readConnectionLost(DONE)
            except BaseException:  # application code may raise anything
                log.err()
        return True  # uvloop must not close the stream

    def connection_lost(self, error: Exception | None) -> None:
        """End the stream: all is sent, or the peer is gone. uvloop closes the descriptor afterwards."""
        if not self.disconnected:
            flushed = self.disconnecting and error is None
            self._lose(ABORTED if self._aborting else DONE if flushed else LOST)
        self.reactor.closing.discard(self)
        self._uv = None
        self.__dict__.pop("data_received", None)  # it may refer to this object

    def pause_writing(self) -> None:
        """Pause the producer, because the peer takes nothing."""
        self._choked = True
        if self.producer is not None and self.streamingProducer and not self._hearing:
            self.producerPaused = True
            self.producer.pauseProducing()

    def resume_writing(self) -> None:
        """Resume the producer, because the peer has taken everything."""
        self._choked = False
        if self.disconnected:
            return
        if self.producer is not None and not self.streamingProducer:
            self._ask_soon()
        elif self.producer is not None and self.producerPaused:
            self._resume_producer()
        elif self._writeDisconnecting:
            self.reactor.loop.call_soon(self._end_writing)

    def receive_directly(self, receive: Callable[[bytes], None]) -> None:
        """Pass data to `receive`, whatever the protocol is, unless TLS is in between."""
        if self._uv is None or self.TLS or self.disconnected:
            return
        if self._stash is None:
            self._receive_by(receive)
        else:
            self._direct = receive

    def read_into(self, sink: Sink | None) -> bool:
        """Read into the buffers of a sink until `receive_directly` is called, unless TLS is in between.

        Args:
            sink: has them; None to read as before.

        Returns:
            Whether it does.
        """
        if self._uv is None or self.TLS or self.disconnected or self._stash is not None:
            return False
        self._fills = sink is not None
        self._uv.set_protocol(self if sink is None else BufferedProtocol(self, sink))
        return self._fills

    # Reading.

    def isReading(self) -> bool:
        """Return whether the peer's data is read, or will be once the stream is open."""
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
        """Do nothing: uvloop writes by itself."""

    @override
    def stopWriting(self) -> None:
        """Do nothing: uvloop writes by itself."""

    def _begin(self) -> None:
        """Deliver what came in the turn in which the stream was opened, and read on."""
        self._young = False
        if self._uv is None or self.disconnected:
            return
        if self._paused:
            self._uv.pause_reading()
        elif self._stash or self._peer_ended:
            self._deliver_stash()
        else:  # nothing has come yet
            self._receive_all()

    def _receive_late(self) -> None:
        """Look the protocol up for each read."""
        self._direct = None
        if self.__dict__.pop("data_received", None) is not None or self._fills:
            self._fills = False
            self._uv.set_protocol(self)

    def _deliver_stash(self) -> None:
        if self._stash is None or self._young:
            return
        try:
            while self._stash:
                if self._paused or self.disconnecting or self._aborting or self.disconnected:
                    return
                (self._direct or self.protocol.dataReceived)(self._stash.pop(0))
        except BaseException:  # application code may raise anything
            self._fail()
        if self._stash is None or self._paused or self.disconnecting or self._aborting or self.disconnected:
            return
        self._receive_all()
        if self._peer_ended:
            self.eof_received()
        else:
            self._uv.resume_reading()

    def _receive_all(self) -> None:
        """Deliver everything directly from now on."""
        self._stash = None
        if self._direct is not None:
            self._receive_by(self._direct)
            self._direct = None

    # Writing.

    @property
    def direct_write(self) -> Callable[[bytes], None]:
        """Fastest `write` for callers that write only bytes, and none after the close: uvloop's own."""
        return self.write if self.TLS else self._send

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
        self._receive_late()
        startTLS(self, ctx, normal, BareStream)

    def getWriteBufferSize(self) -> int:
        """Return the bytes that were written and that the kernel has not yet taken."""
        return 0 if self._uv is None else int(self._uv.get_write_buffer_size())

    @property
    def _tempDataLen(self) -> int:
        """Unsent bytes, where programs look for them in Twisted's transports."""
        return self.getWriteBufferSize()

    @_tempDataLen.setter
    def _tempDataLen(self, _: int) -> None: ...

    # End.

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
        """Release the socket; uvloop closes the descriptor after this turn."""
        handle = self.__dict__.pop("socket", None)
        if handle is not None:
            handle.detach()


def _discard(_: bytes, /) -> None:
    """Drop what is written to a closed stream."""
