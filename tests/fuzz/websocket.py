"""Fuzzes the chat's connections of HTTP and WebSockets: whatever a peer sends, nothing fails, little is held,
and who shares the chat with it is served.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import fuzzing
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, Logger, globalLogPublisher
from websockets.frames import Frame, Opcode
from zope.interface import implementer

from sockd.plugin import Context
from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.rules import Rules
from sockd_plugins.chat.web.commands import MOST_BYTES
from sockd_plugins.chat.web.connection import WebConnection
from sockd_plugins.chat.web.options import Options
from sockd_plugins.chat.web.site import Site
from sockd_plugins.chat.web.websocket import WebSocket

HANDSHAKE = (
    b"GET /socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
REQUESTS = (
    HANDSHAKE,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /rooms HTTP/1.0\r\n\r\n",
    b"GET /rooms/lobby?since=0&limit=2 HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n",
    b"GET /rooms/lobby HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: 1\r\n\r\n",
    b"POST /rooms/lobby?name=bob HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /rooms/lobby HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /hooks/ci HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=00\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /events HTTP/1.1\r\nHost: x\r\nOrigin: http://y\r\nSec-Fetch-Site: same-site\r\n\r\n",
)
COMMANDS: tuple[dict[str, object], ...] = (
    {"type": "hello", "name": "bob", "rooms": {"lobby": None}, "heartbeat": True},
    {"type": "hello", "name": "ann", "rooms": {"lobby": 3}, "key": "x", "epoch": ""},
    {"type": "say", "room": "lobby", "text": "hello", "ref": 1},
    {"type": "tell", "to": "ann", "text": "hello", "kind": "notice"},
    {"type": "join", "room": "garden", "since": 0},
    {"type": "part", "room": "lobby", "reason": "x"},
    {"type": "rename", "name": "bobby"},
    {"type": "since", "room": "lobby", "number": 0, "limit": 5},
    {"type": "before", "room": "lobby", "number": 9},
    {"type": "who", "room": "lobby"},
    {"type": "rooms"},
    {"type": "ping", "ref": "a"},
)
TEXTS = tuple(json.dumps(command).encode() for command in COMMANDS)
FRAMES = (
    *(Frame(Opcode.TEXT, text).serialize(mask=True) for text in TEXTS),
    Frame(Opcode.TEXT, b'{"type":', fin=False).serialize(mask=True),
    Frame(Opcode.CONT, b'"ping"}').serialize(mask=True),
    Frame(Opcode.PING, b"x").serialize(mask=True),
    Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True),
    Frame(Opcode.TEXT, b"x" * (MOST_BYTES + 1)).serialize(mask=True),
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\xfe\xff\xff\0\0\0\0",
)
WORDS = (
    b"\r\n",
    b"\0",
    b"\x81\x80",
    b"\x88\x80",
    b"\xff",
    b": ",
    b"%",
    b'"',
    b"{",
    b"Content-Length: 9\r\n",
    b"\x80",
)


class Ear:
    """Person who is in the chat, and hears it."""

    def __init__(self) -> None:
        self.heard = 0

    def deliver(self, batch: Batch) -> None:
        self.heard += len(batch.events)


def make(random: Random) -> bytes:
    """How it is cut, and the stream: requests, or frames after a handshake."""
    if random.random() < 0.5:
        stream = b"".join(random.choices(REQUESTS, k=random.randint(1, 4)))
        start = b""
    else:
        stream = b"".join(random.choices(FRAMES, k=random.randint(1, 8)))
        start = HANDSHAKE
    if random.random() < 0.8:
        stream = fuzzing.mutate(random, stream, WORDS)
    return random.randbytes(1) + start + stream


def check(data: bytes) -> None:
    clock = Clock()
    rules = Rules("lobby", 10, 5, 24, 400, 5, 1000.0, 1000)
    faults: list[Any] = []

    @implementer(ILogObserver)
    def note(event: Any) -> None:
        faults.append(event)

    globalLogPublisher.addObserver(note)
    hub = Hub(rules, clock, Logger("fuzz"))
    site = Site(hub, Context("chat", clock, Logger("fuzz"), Path("/nowhere")), Options(rate=1000, burst=1000))
    ear = Ear()
    ann = hub.enter("ann", ear, room="lobby")
    connection: Any = WebConnection(site, clock, Logger("fuzz"))
    transport: Any = StringTransport()
    connection.makeConnection(transport)
    random = Random(data[:1])
    rest = data[1:]
    while rest and not (transport.disconnecting or transport.disconnected):
        size = random.choice((1, 7, 100, len(rest)))
        connection.dataReceived(rest[:size])
        rest = rest[size:]
        clock.advance(0.01)
        stream = connection._stream
        if isinstance(stream, WebSocket):
            held = sum(map(len, stream._parts))
            assert held <= MOST_BYTES, f"{held} bytes of a message are held"
    heard = ear.heard
    hub.say(hub.enter("eve", Ear(), room="lobby"), "lobby", "still there?")
    clock.advance(0.01)
    assert ear.heard > heard, "the others are not served any more"
    connection.connectionLost()
    hub.leave(ann, "done")
    for _ in range(3):
        clock.advance(0.01)
    waiting = [call for call in clock.getDelayedCalls() if call.active()]
    assert not waiting, f"a lost connection waits for something: {waiting}"
    globalLogPublisher.removeObserver(note)
    failures = [event for event in faults if "log_failure" in event]
    assert not failures, failures[0]["log_failure"].getTraceback()


if __name__ == "__main__":
    sys.exit(fuzzing.run(make, check))
