from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Factory, Protocol

from sockd.config import SocketOptions
from sockd.endpoint import parse
from sockd.sockets.open import BoundSocket, open_socket
from sockd.sockets.ports import adopt_stream_port
from sockd.sockets.transport import bytes_moved

PATIENCE = 1000
"""Turns of the reactor of 10 ms; nothing takes so many unless something is broken."""


class Echo(Protocol):
    def __init__(self) -> None:
        self.moved: tuple[int, int] | None = None

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.moved = bytes_moved(self.transport)


class Bench:
    """Stock reactor that runs only when the test says so."""

    def __init__(self, text: str) -> None:
        self.reactor: Any = EPollReactor()
        self.bound: BoundSocket = open_socket(parse(text), SocketOptions())
        self.bound.socket.setblocking(False)
        self.protocols: list[Echo] = []
        self.port: Any = adopt_stream_port(self.reactor, self.bound, self._factory(), stock=False)

    def _factory(self) -> Any:
        factory: Any = Factory()
        factory.noisy = False
        factory.buildProtocol = self._build
        return factory

    def _build(self, _: object) -> Echo:
        self.protocols.append(Echo())
        return self.protocols[-1]

    def client(self) -> socket.socket:
        client = socket.socket(self.bound.socket.family, socket.SOCK_STREAM)
        client.connect(self.bound.socket.getsockname())
        client.setblocking(False)
        return client

    def turn(self) -> None:
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(0.01)

    def answer(self, client: socket.socket) -> bytes:
        for _ in range(PATIENCE):
            self.turn()
            try:
                return client.recv(100)
            except BlockingIOError:
                continue
        raise AssertionError("no answer")

    def stop(self) -> None:
        self.port.stopListening()
        self.turn()
        self.turn()
        self.bound.close()
        self.reactor.removeAll()
        self.reactor._poller.close()
        self.reactor.waker.connectionLost(None)


@pytest.fixture(params=["tcp", "unix"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    text = f"unix:{tmp_path}/s.sock:mode=600" if request.param == "unix" else "tcp:0:interface=127.0.0.1"
    made = Bench(text)
    yield made
    made.stop()


def test_an_adopted_port_serves(bench: Bench) -> None:
    with bench.client() as client:
        client.send(b"hello")
        assert bench.answer(client) == b"hello"


def test_stopping_leaves_the_socket_to_whoever_opened_it(bench: Bench) -> None:
    """Twisted would shut it down for every process that shares it."""
    bench.port.stopListening()
    bench.turn()
    bench.turn()
    with bench.client() as client:
        client.send(b"waits in the kernel")
        bench.port = adopt_stream_port(bench.reactor, bench.bound, bench._factory(), stock=False)
        assert bench.answer(client) == b"waits in the kernel"


@pytest.mark.parametrize("bench", ["unix"], indirect=True)
def test_a_unix_path_keeps_its_mode_and_stays_when_the_port_stops(bench: Bench) -> None:
    """Twisted would set its mode to 0666, and unlink it."""
    path = bench.bound.socket.getsockname()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    bench.port.stopListening()
    bench.turn()
    bench.turn()
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    bench.port = adopt_stream_port(bench.reactor, bench.bound, bench._factory(), stock=False)


@pytest.mark.parametrize("bench", ["tcp"], indirect=True)
def test_bytes_moved_are_known_when_the_stream_has_ended(bench: Bench) -> None:
    with bench.client() as client:
        client.send(b"hello")
        assert bench.answer(client) == b"hello"
    for _ in range(PATIENCE):
        if bench.protocols[0].moved is not None:
            break
        bench.turn()
    assert bench.protocols[0].moved == (5, 5)
