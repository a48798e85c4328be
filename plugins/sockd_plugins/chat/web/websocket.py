"""WebSocket that carries a conversation in JSON (RFC 6455); `websockets` reads and writes the frames.

Its core without I/O takes 3.9 µs for a message of 119 bytes that comes and 1.3 for a frame that goes;
wsproto, on which `twisted.web.websocket` stands, takes 14.2 and 3.7, autobahn 23.3 and 4.0 (one run on a
loaded machine). It bounds the size of messages, and needs 1.4 kB for a connection.

No extension is agreed on: compression would cost each connection its own window and each message its own
encoding, while a frame of a broadcast is built once for all. A message that is too long, or no text, ends the
connection with its code. A peer that answers no ping for `SILENT_SECONDS` is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from websockets.datastructures import Headers
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from sockd_plugins.chat.hub.events import Event
from sockd_plugins.chat.web import forms
from sockd_plugins.chat.web.backlog import Backlog
from sockd_plugins.chat.web.commands import MOST_BYTES
from sockd_plugins.chat.web.request import Answer, Problem, Request
from sockd_plugins.chat.web.session import Salon, Session

PING_SECONDS = 20.0
"""Seconds between two pings: proxies close connections that are silent for 60."""

SILENT_SECONDS = 50.0
"""Seconds without any byte of the peer after which it is gone: two pings are unanswered."""

CLOSE_SECONDS = 5.0
"""Seconds for the peer to answer a close frame."""

_CLOSE_CODES = {"ended": 1001, "replaced": 4000}
"""Codes of close frames by the reasons of the chat; others are breaches of its rules, 1008."""

_MOST_REASON = 120  # bytes of a reason in a close frame; 123 fit

_SILENT = logging.Logger("websockets")
"""Log of the library, which nobody reads: what peers do wrong ends in their close codes."""
_SILENT.disabled = True


def open_websocket(request: Request, salon: Salon) -> Answer | WebSocket:
    """Answer the handshake of a WebSocket.

    Returns:
        The conversation; an answer that refuses if the request is no handshake.
    """
    try:
        handshake = Handshake(request.target, Headers(request.headers))
        response = ServerProtocol(logger=_SILENT).accept(handshake)
    except WebSocketException:  # of characters that no field may have
        raise Problem(400, "bad_request", "expected the handshake of a WebSocket") from None
    if response.status_code != 101:
        own = ("content-length", "connection", "date")
        headers = [each for each in response.headers.raw_items() if each[0].lower() not in own]
        return Answer(response.status_code, headers, bytes(response.body or b""))
    return WebSocket(response.serialize(), salon, request.host)


class WebSocket:
    """WebSocket of one client, after its handshake.

    Args:
        handshake: answer to the handshake.
        salon: the chat.
        host: address of the client.
    """

    __slots__ = (
        "_alarm",
        "_backlog",
        "_clock",
        "_closing",
        "_handshake",
        "_heard",
        "_parts",
        "_protocol",
        "_session",
        "_transport",
    )

    def __init__(self, handshake: bytes, salon: Salon, host: str) -> None:
        self._handshake = handshake
        self._protocol = ServerProtocol(state=State.OPEN, max_size=MOST_BYTES, logger=_SILENT)
        self._clock = salon.clock
        self._session = Session(salon, self, forms.in_frame, host)
        self._transport: Any = None
        self._backlog: Backlog | None = None
        self._parts: list[bytes] = []  # of a message in several frames
        self._heard = 0.0  # time of the last byte of the peer
        self._alarm: IDelayedCall | None = None
        self._closing = False

    def begin(self, transport: Any, rest: bytes) -> None:
        """Implement `Stream.begin`."""
        self._transport = transport
        self._heard = self._clock.seconds()
        self._alarm = self._clock.callLater(PING_SECONDS, self._ping)
        transport.write(self._handshake)
        self._handshake = b""
        self._backlog = Backlog(
            transport,
            self._clock,
            self._session.describe,
            lambda: self._session.end("too_slow", "you have read nothing for a minute"),
        )
        if rest:
            self.received(rest)

    def received(self, data: bytes) -> None:
        """Implement `Stream.received`."""
        self._heard = self._clock.seconds()
        self._protocol.receive_data(data)
        self._go_on()

    def ended(self) -> None:
        """Implement `Stream.ended`."""
        self._protocol.receive_eof()
        self._go_on()
        self._hang_up()

    def lost(self) -> None:
        """Implement `Stream.lost`."""
        self._stop()
        self._session.lost()

    def wrap(self, text: bytes) -> bytes:
        """Implement `Line.wrap`."""
        return forms.frame(text)

    def send(self, data: bytes, events: Sequence[Event] = ()) -> None:
        """Implement `Line.send`."""
        if not self._closing and self._backlog is not None:
            self._backlog.send(data, events)

    def close(self, code: str, reason: str) -> None:
        """Implement `Line.close`."""
        if self._protocol.state is State.OPEN:
            words = reason.encode()[:_MOST_REASON].decode(errors="ignore")
            self._protocol.send_close(_CLOSE_CODES.get(code, 1008), words)
            self._write()
        self._await_close()

    def _go_on(self) -> None:
        """Take the frames that have come, and write what answers them."""
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and not self._closing:
                self._take(event)
        self._write()
        if self._protocol.close_expected():  # both sides have closed: the peer would wait for us
            self._hang_up()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self._fail(1003, "expected text")
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            if frame.data:
                self._parts.append(bytes(frame.data))
            if frame.fin:
                message, self._parts = b"".join(self._parts), []
                try:
                    text = message.decode()
                except UnicodeDecodeError:
                    self._fail(1007, "expected UTF-8")
                else:
                    self._session.received(text)

    def _fail(self, code: int, reason: str) -> None:
        """End the connection because of what the peer has sent, and send nothing after the close frame."""
        self._protocol.fail(code, reason)
        self._closing = True

    def _write(self) -> None:
        if self._transport is not None and (data := b"".join(self._protocol.data_to_send())):
            self._transport.write(data)

    def _ping(self) -> None:
        silent = self._clock.seconds() - self._heard
        if silent >= SILENT_SECONDS:
            self._stop()
            self._session.lost("silent")
            self._transport.abortConnection()
            return
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._write()
        self._alarm = self._clock.callLater(PING_SECONDS, self._ping)

    def _await_close(self) -> None:
        """Give the peer some time to answer the close frame."""
        if not self._closing and self._transport is not None:
            self._stop()
            self._closing = True
            self._alarm = self._clock.callLater(CLOSE_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        self._stop()
        self._session.lost()
        self._transport.loseConnection()

    def _stop(self) -> None:
        """Keep nothing, and wait for nothing any more."""
        self._closing = True
        self._parts.clear()
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        if self._backlog is not None:
            backlog, self._backlog = self._backlog, None
            backlog.close()
