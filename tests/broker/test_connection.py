"""Connection to a server, in memory: greeting, refusals, requests, silence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sockd.broker import BrokerAway
from sockd.broker.nats.connection import HANDSHAKE, Connection, Greeting
from sockd.broker.nats.wire import Message
from sockd.config import read_key

INFO: dict[str, Any] = {"version": "2.15.1", "headers": True, "client_id": 7, "nonce": "abc"}


class Transport:
    """Transport of the client, which keeps what is written."""

    protocol: Connection

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def startTLS(self, context: Any) -> None:
        self.write(b"<tls>")

    def abortConnection(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionLost()))


class Owner:
    def __init__(self) -> None:
        self.told: list[str] = []

    def connected(self, connection: Connection) -> None:
        self.told.append("connected")

    def lost(self, connection: Connection, reason: str) -> None:
        self.told.append(reason)


class Client:
    """Client whose server is the test."""

    def __init__(self, must_encrypt: bool = False) -> None:
        self.clock, self.owner, self.transport = Clock(), Owner(), Transport()
        greeting = Greeting(lambda nonce: {"nonce": nonce}, lambda: None, must_encrypt)
        self.connection = self.transport.protocol = Connection(greeting, self.owner, self.clock)
        self.connection.transport = self.transport  # type: ignore[assignment]
        self.connection.connectionMade()

    def reads(self, data: bytes) -> None:
        self.connection.dataReceived(data)

    def greeted(self, **info: Any) -> Client:
        self.reads(b"INFO %b\r\n" % json.dumps(INFO | info).encode())
        return self

    def open(self) -> Client:
        self.greeted().reads(b"PONG\r\n")
        self.written()
        return self

    def written(self) -> bytes:
        data = b"".join(self.transport.pieces)
        self.transport.pieces.clear()
        return data


def test_a_client_is_connected_when_the_server_has_accepted_it() -> None:
    client = Client().greeted()
    connect, subscribe, ping, rest = client.written().split(b"\r\n")
    assert json.loads(connect.removeprefix(b"CONNECT ")).items() >= {"nonce": "abc", "headers": True}.items()
    assert (subscribe[:12], ping, rest) == (b"SUB _INBOX.7", b"PING", b"")
    assert client.owner.told == []
    client.reads(b"PONG\r\n")
    assert client.owner.told == ["connected"]
    client.clock.advance(HANDSHAKE)
    assert client.owner.told == ["connected"]


def test_a_client_that_is_refused_tells_the_servers_reason() -> None:
    client = Client().greeted()
    client.reads(b"-ERR 'Authorization Violation'\r\n")
    client.transport.abortConnection()
    assert client.owner.told == ["the server says: Authorization Violation"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it does not speak NATS"),
        (b"INFO [1]\r\n", "it does not speak NATS"),
        (b"INFO {\r\n", "it does not speak NATS"),
        (b'INFO {"version":"2.10.29"}\r\n', "the server has version 2.10.29, and 2.11 is the least"),
        (b'INFO {"version":"x\\u001b[2J"}\r\n', "the server has version"),
        (b"", "no answer within 3 s"),
    ],
)
def test_another_server_is_left(data: bytes, reason: str) -> None:
    client = Client()
    client.reads(data)
    client.clock.advance(HANDSHAKE)
    assert len(client.owner.told) == 1
    assert reason in client.owner.told[0]
    assert "\x1b" not in client.owner.told[0]


def test_encryption_begins_before_anything_is_told() -> None:
    assert Client().greeted(tls_required=True).written().startswith(b"<tls>CONNECT")
    assert Client(must_encrypt=True).greeted(tls_available=True).written().startswith(b"<tls>CONNECT")
    plain = Client(must_encrypt=True).greeted()
    assert plain.written() == b""
    assert plain.owner.told == ["the server does not speak TLS"]


def asked(client: Client) -> tuple[Deferred[Message], str]:
    """Ask something; return the answer to come, and where the server has to send it."""
    answer = client.connection.ask("a.b", b"?", 2)
    _, _, inbox, _, _ = client.written().replace(b"\r\n", b" ").split(b" ", 4)
    return answer, inbox.decode()


def test_an_answer_goes_to_the_one_that_has_asked() -> None:
    client = Client().open()
    first, here = asked(client)
    second, there = asked(client)
    client.reads(f"MSG {there} 1 3\r\ntwo\r\nMSG {here} 1 3\r\none\r\nMSG {here} 1 3\r\ntwo\r\n".encode())
    results: list[bytes] = []
    first.addCallback(lambda message: results.append(message.data))
    second.addCallback(lambda message: results.append(message.data))
    assert results == [b"one", b"two"]
    assert not client.clock.getDelayedCalls()


def test_an_answer_that_does_not_come_is_told() -> None:
    client = Client().open()
    late, _ = asked(client)
    client.clock.advance(2)
    assert "no answer within 2 s" in str(_failure(late))
    lost, _ = asked(client)
    pong = client.connection.ping()
    client.transport.abortConnection()
    assert isinstance(_failure(lost), BrokerAway)
    assert isinstance(_failure(pong), BrokerAway)
    after = client.connection.ask("a.b", b"?", 2)
    assert isinstance(_failure(after), BrokerAway)


def _failure(deferred: Deferred[Any]) -> BaseException:
    found: list[Failure] = []
    deferred.addErrback(found.append)
    assert found[0].value is not None
    return found[0].value


def test_a_ping_of_the_server_is_answered() -> None:
    client = Client().open()
    client.reads(b"PING\r\n")
    assert client.written() == b"PONG\r\n"


def test_what_is_written_for_a_piece_leaves_in_one_piece() -> None:
    client = Client().open()
    client.connection.subscribe("a", lambda message: client.connection.publish("b", message.data))
    client.written()
    client.reads(b"MSG a 2 1\r\nx\r\nMSG a 2 1\r\ny\r\nPING\r\n")
    assert client.transport.pieces == [b"PUB b 1\r\nx\r\nPUB b 1\r\ny\r\nPONG\r\n"]


SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
"""Seed of the published examples of NATS."""


def test_a_key_signs_the_nonce_of_the_server() -> None:
    key = read_key(f"-----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n")
    assert key.public == "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
    answer = key.answer("nonce")
    assert answer.keys() == {"nkey", "sig"}
    assert len(answer["sig"]) == 86
    jwt = "eyJ0eXAiOiJKV1QifQ.eyJqdGkiOiJBIn0.c2ln"
    assert read_key(f"{jwt}\n{SEED}").answer("nonce")["jwt"] == jwt


@pytest.mark.parametrize("text", ["", "hello", SEED[:-1], SEED[:-1] + "A", "SAA" + SEED[3:]])
def test_a_damaged_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="seed"):
        read_key(text)
