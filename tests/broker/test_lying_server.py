"""A server that answers nonsense, at any point: the client leaves it or waits, and never fails itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sockd.broker.nats.wire import publication
from tests.broker.parties import Nats, reactor, until

INFO = {"version": "2.15.1", "headers": True, "client_id": 1, "max_payload": 1048576}

Answer = Callable[[str, bytes], bytes | None]
"""Returns the answer to a request for a subject, with its bytes; None for silence."""


class Liar(Protocol):
    """Server of one connection; what it is asked, it answers with `answer`."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._data = b""
        self._inbox = 1

    def connectionMade(self) -> None:
        self.send(b"INFO %b\r\n" % json.dumps(INFO).encode())

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        while b"\r\n" in self._data:
            line, self._data = self._data.split(b"\r\n", 1)
            words = line.decode().split()
            if words[0] == "PING":
                self.send(b"PONG\r\n")
            elif words[0] in ("PUB", "HPUB"):
                size = int(words[-1])
                body, self._data = self._data[:size], self._data[size + 2 :]
                if len(words) > 3 + (words[0] == "HPUB"):
                    self.reply(words[1], words[2], body)

    def reply(self, subject: str, inbox: str, body: bytes) -> None:
        answer = self._answer(subject, body)
        if answer is not None:
            self.send(b"MSG %b 1 %d\r\n%b\r\n" % (inbox.encode(), len(answer), answer))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        pass


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def lie() -> AsyncIterator[Callable[[Answer], Any]]:
    """Serve a liar, and return parties at it."""
    opened: list[Any] = []
    made: list[Nats] = []

    async def serve(answer: Answer) -> Nats:
        factory = Factory.forProtocol(lambda: Liar(answer))
        factory.noisy = False
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        opened.append(port)
        made.append(Nats(f"nats://127.0.0.1:{port.getHost().port}"))
        return made[-1]

    yield serve
    for each in made:
        await each.stop()
    for port in opened:
        await port.stopListening()


STREAM = {
    "config": {"name": "s", "subjects": ["s.>"]},
    "created": "2026-01-01T00:00:00Z",
    "state": {"last_seq": 5},
}

NONSENSE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"error":1}',
    b'{"error":{}}',
    b'{"error":{"err_code":"x","description":{"a":1}}}',
    b'{"config":1,"state":2,"created":3}',
    b'{"config":{"subjects":[]},"state":{"last_seq":"x"}}',
    b'{"seq":"x"}',
    b'{"seq":null}',
    b'{"name":[],"seq":-1}',
    b"\xff\xfe",
]


def lies() -> Iterator[tuple[str, bytes]]:
    """Yield questions with the lies that are told to them; all others get true answers."""
    for question in ("STREAM.INFO", "CONSUMER.CREATE", ".live."):
        for nonsense in NONSENSE:
            yield question, nonsense


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
@pytest.mark.parametrize(("question", "nonsense"), list(lies()))
async def test_nonsense_is_waited_out(lie: Callable[[Answer], Any], question: str, nonsense: bytes) -> None:
    asked: list[str] = []
    name = ""

    def answer(subject: str, body: bytes) -> bytes | None:
        asked.append(subject)
        if question in subject:
            return nonsense
        if "CONSUMER.CREATE" in subject:
            return b'{"name":"c"}'
        if "STREAM.INFO" in subject or "STREAM.CREATE" in subject or "STREAM.UPDATE" in subject:
            found = {**STREAM, "config": {"name": name, "subjects": [f"{name}.>"]}}
            return json.dumps(found).encode()
        return b'{"seq":6}'

    nats = await lie(answer)
    name = nats.name
    party = nats.absent()
    party.enter(after=0)
    party.broker.registry("people", party.looker)
    await until(lambda: sum(question in subject for subject in asked) >= 2)
    assert not party.connected


DELIVERIES = [
    publication("s.log.chat.ops", b"hello").replace(b"PUB", b"MSG", 1),
    b"MSG x 2 $JS.ACK.s.c.1.x.y.1.0 0\r\n\r\n",
    b"MSG x 2 $JS.ACK.s.c.1 0\r\n\r\n",
    b"MSG x 999 a.b 0\r\n\r\n",
    b"HMSG x 2 in 12 12\r\nNATS/1.0 ab\r\n",
    b"PONG\r\nPONG\r\nPONG\r\n",
    b"+OK\r\n-ERR ''\r\n",
    b"INFO {}\r\n",
]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_what_nobody_has_asked_for_harms_nothing(
    lie: Callable[[Answer], Any], delivery: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[Liar] = []
    made = Liar.connectionMade

    def remember(server: Liar) -> None:
        servers.append(server)
        made(server)

    monkeypatch.setattr(Liar, "connectionMade", remember)
    nats = await lie(lambda subject, body: None)
    nats.absent()
    await until(lambda: servers and servers[0].transport is not None)
    await deferLater(reactor, 0.05)
    servers[0].send(delivery)
    await deferLater(reactor, 0.05)
