"""Writing side of a stream, as TLS uses it below a protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet import error, tcp
from twisted.python import log
from twisted.python.failure import Failure
from typing_extensions import override

HIGH_WATER = 64 * 1024
"""Bytes not taken by the kernel at which a streaming producer is paused, as Twisted's `bufferSize`."""

DONE, LOST, ABORTED = (
    Failure(kind()) for kind in (error.ConnectionDone, error.ConnectionLost, error.ConnectionAborted)
)


class BareStream(tcp.Connection):
    """Stream below TLS: its own writes, without the check whether TLS is in between."""

    reactor: Any
    protocol: Any
    producer: Any = None

    _uv: Any = None  # uvloop's transport, from `connection_made` to `connection_lost`
    _choked = False  # the peer takes nothing
    _asking = False  # a pull producer is asked for more in the next turn
    _hearing = False  # uvloop reports any unsent byte now, for the end of all output and not for the producer

    def _send(self, _: bytes, /) -> None:
        """Send data; replaced by uvloop's `write` while the stream is open."""

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
            self._ask_soon()  # again, because data may have been written before it was registered
        elif self._choked:  # uvloop does not report it again
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

    # A pull producer is asked for more once each time that everything is sent.

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
        """Let uvloop call `resume_writing` when nothing is left, however little there is now."""
        self._hearing = True
        self._uv.set_write_buffer_limits(0, 0)
        self._hearing = False

    def _fail(self) -> None:
        """End the stream because application code has raised; the exception is the reason."""
        log.err()
        self._lose(Failure())

    def _lose(self, reason: Failure) -> None:
        """Call `connectionLost` for uvloop, which would hide what it raises."""
        try:
            self.connectionLost(reason)
        except BaseException:  # application code may raise anything
            log.err()
