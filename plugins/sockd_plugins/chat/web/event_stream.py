"""Conversation in JSON where no WebSocket goes through: server-sent events down, POST up.

    GET  /events          data: {"type":"stream","path":"/events/KEY"}, then the events of the conversation
    POST /events/KEY      commands, one on each line; the answer is 204

The events have no `id`: a client that comes back says in `hello` what it knows.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from sockd_plugins.chat.hub.events import Event
from sockd_plugins.chat.web import forms
from sockd_plugins.chat.web.backlog import Backlog
from sockd_plugins.chat.web.request import EVENTS, Answer, Problem, Request, in_json
from sockd_plugins.chat.web.session import Salon, Session

PING_SECONDS = 15.0
"""Seconds between two comments, which keep proxies from closing a silent stream (HTML, 9.2.7)."""

PING = b":\n\n"

MOST_COMMANDS = 100
"""Commands of a POST."""


def head(content_type: str, *, extra: str = "") -> bytes:
    """Return the head of an answer that ends with the connection (RFC 9112, 6.3), so that what all are sent
    needs no framing of each.
    """
    return (
        "HTTP/1.1 200 OK\r\nServer: sockd\r\nConnection: close\r\nCache-Control: no-store\r\n"
        f"X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\nContent-Type: {content_type}\r\n"
        f"{extra}\r\n"
    ).encode("ascii")


class EventStream:
    """Conversation of one client over a stream of events.

    Args:
        salon: the chat.
        host: address of the client.
        open_ones: streams by their keys.
    """

    def __init__(self, salon: Salon, host: str, open_ones: dict[str, EventStream]) -> None:
        self._clock = salon.clock
        self._session = Session(salon, self, forms.in_server_event, host)
        self._key = secrets.token_urlsafe(16)
        self._open_ones = open_ones
        self._transport: Any = None
        self._backlog: Backlog | None = None
        self._alarm: IDelayedCall | None = None

    def begin(self, transport: Any, rest: bytes) -> None:  # noqa: ARG002  # the peer has nothing to say here
        """Implement `Stream.begin`."""
        self._transport = transport
        self._open_ones[self._key] = self
        told = in_json({"type": "stream", "path": f"/events/{self._key}"})
        transport.write(head(EVENTS) + self.wrap(told))
        self._alarm = self._clock.callLater(PING_SECONDS, self._ping)
        self._backlog = Backlog(
            transport,
            self._clock,
            self._session.describe,
            lambda: self._session.end("too_slow", "you have read nothing for a minute"),
        )

    def received(self, data: bytes) -> None:
        """Implement `Stream.received`: the commands come by POST."""

    def ended(self) -> None:
        """Implement `Stream.ended`."""
        self.close("ended", "")

    def lost(self) -> None:
        """Implement `Stream.lost`."""
        self._stop()
        self._session.lost()

    def wrap(self, text: bytes) -> bytes:
        """Implement `Line.wrap`."""
        return forms.server_event(text)

    def send(self, data: bytes, events: Sequence[Event] = ()) -> None:
        """Implement `Line.send`."""
        if self._backlog is not None:
            self._backlog.send(data, events)

    def close(self, code: str, reason: str) -> None:  # noqa: ARG002  # the last event has told it
        """Implement `Line.close`."""
        if self._backlog is not None:
            self._stop()
            self._session.lost()
            self._transport.loseConnection()

    def take(self, body: bytes) -> None:
        """Carry out commands, one on each line."""
        try:
            lines = [line for line in body.decode().split("\n") if line.strip()]
        except UnicodeDecodeError:
            raise Problem(400, "bad_request", "expected UTF-8") from None
        if len(lines) > MOST_COMMANDS:
            raise Problem(413, "too_large", f"expected at most {MOST_COMMANDS} commands, found more")
        for line in lines:
            self._session.received(line)

    def _ping(self) -> None:
        self.send(PING)
        self._alarm = self._clock.callLater(PING_SECONDS, self._ping)

    def _stop(self) -> None:
        self._open_ones.pop(self._key, None)
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        if self._backlog is not None:
            backlog, self._backlog = self._backlog, None
            backlog.close()


def take_commands(request: Request, open_ones: dict[str, EventStream]) -> Answer:
    """Answer the POST of commands to the stream that its path names."""
    stream = open_ones.get(request.path.removeprefix("/events/"))
    if stream is None:
        raise Problem(404, "no_such_stream", "this stream has ended")
    stream.take(request.body)
    return Answer(204)
