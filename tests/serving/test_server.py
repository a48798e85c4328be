"""The server in this process, on the real reactor, with real sockets."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from sockd import discovery
from sockd.config import load
from sockd.datagram.loops import OWN
from sockd.errors import BindError
from sockd.serving.server import Server
from sockd.serving.service import Service
from sockd.sockets import descriptors

CONFIG = """
[daemon]
drain_timeout = "300ms"
[service.echo]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1", "unix:echo.sock"]
"""


class Client(Protocol):
    """Collects what comes, and tells when it is over."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()
        self._wanted: tuple[bytes, Deferred[None]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self._wanted and self._wanted[0] in self.received:
            (_, found), self._wanted = self._wanted, None
            found.callback(None)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.lost.callback(None)

    async def says(self, data: bytes, answer: bytes) -> None:
        """Send, and wait for the answer."""
        found: Deferred[None] = Deferred()
        self._wanted = answer, found
        assert self.transport is not None
        self.transport.write(data)
        await found.addTimeout(20, reactor)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "sockd.toml").write_text(CONFIG)
    made = Server(load(tmp_path / "sockd.toml", discovery.find), reactor)
    yield made
    made.release()


async def connected(server: Server) -> Client:
    port: Any = server.services[0].listeners[0].bound.socket.getsockname()[1]
    client: Client = await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", port), Client())
    return client


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_it_serves_between_open_and_stop(server: Server, tmp_path: Path) -> None:
    server.bind()
    await server.start()
    server.open()
    client = await connected(server)
    await client.says(b"hello", b"hello")
    assert server.connections == 1
    assert client.transport is not None
    client.transport.loseConnection()
    await client.lost
    await server.stop()
    assert server.connections == 0
    assert not (tmp_path / "echo.sock").exists()


async def linger(server: Server) -> Service:
    """Close the one connection, whose peer does not end its side, and let it linger for long."""
    [service] = server.services
    while not len(service.connections):
        await deferLater(reactor, 0)
    service.connections.context.lingering.silent = service.connections.context.lingering.longest = 3600
    [connection] = service.connections
    connection.end("closed")
    while not len(service.connections.context.lingering):
        await deferLater(reactor, 0)
    return service


def connect(server: Server) -> socket.socket:
    return socket.create_connection(server.services[0].listeners[0].bound.socket.getsockname())


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_a_connection_that_we_close_is_not_reset_by_what_its_peer_still_sends(server: Server) -> None:
    server.bind()
    await server.start()
    server.open()
    with connect(server) as client:
        service = await linger(server)
        for _ in range(10):
            client.sendall(b"more")
            await deferLater(reactor, 0.01)
        assert len(service.connections.context.lingering) == 1
        client.settimeout(0)
        assert client.recv(1) == b""
    await server.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_sockets_that_linger_are_closed_first_when_descriptors_are_short(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.bind()
    await server.start()
    server.open()
    with connect(server):
        service = await linger(server)
        monkeypatch.setattr(descriptors, "used", lambda: server.descriptors.most)
        while server.descriptors.grant(1):  # what was found free before
            pass
        for _ in range(100):
            await deferLater(reactor, 0)
        assert not len(service.connections.context.lingering)
    monkeypatch.undo()
    await server.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_stopping_waits_for_a_connection_until_the_drain_timeout(server: Server) -> None:
    server.bind()
    await server.start()
    server.open()
    client = await connected(server)
    await client.says(b"hello", b"hello")
    with capturedLogs() as events:
        await server.stop()
    await client.lost
    assert [event["cut"] for event in events if event["log_format"] == "stopped"] == [1]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_hurrying_ends_the_wait_even_before_it_has_begun(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(CONFIG.replace("300ms", "1h"))
    server = Server(load(tmp_path / "sockd.toml", discovery.find), reactor)
    server.bind()
    await server.start()
    server.open()
    client = await connected(server)
    await client.says(b"hello", b"hello")
    stopping = Deferred.fromCoroutine(server.stop())
    server.hurry()
    await stopping
    await client.lost
    assert server.services[0].events.counts["closed", "drain timeout"] == 1


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_stopping_before_it_has_opened_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.bind()
    await server.stop()
    assert not (tmp_path / "echo.sock").exists()


def test_all_that_cannot_be_opened_comes_in_one_group_and_nothing_stays_open(tmp_path: Path) -> None:
    (tmp_path / "in_the_way").write_text("")
    (tmp_path / "sockd.toml").write_text(
        '[service.a]\nplugin = "echo"\nlisten = ["unix:a.sock", "unix:in_the_way"]\n'
        '[service.b]\nplugin = "echo"\nlisten = ["tcp:0:interface=192.0.2.1"]\n'
    )
    server = Server(load(tmp_path / "sockd.toml", discovery.find), reactor)
    with pytest.raises(ExceptionGroup) as caught:
        server.bind()
    errors = [error for error in caught.value.exceptions if isinstance(error, BindError)]
    assert [error.service for error in errors] == ["a", "b"]
    assert not (tmp_path / "a.sock").exists()


def test_the_operator_can_tighten_what_a_datagram_may_bring_about(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(
        '[service.time]\nplugin = "time"\nlisten = ["udp:0:interface=127.0.0.1"]\n'
        "limits = { max_amplification = 0.5, reply_floor = 20 }\n"
    )
    server = Server(load(tmp_path / "sockd.toml", discovery.find), reactor)
    server.bind()
    listener: Any = server.services[0].listeners[0]
    assert (listener.replies.factor, listener.replies.floor) == (0.5, 20)
    server.release()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_limits_on_replies_change_for_ports_that_are_open(tmp_path: Path) -> None:
    text = '[service.echo]\nplugin = "echo"\nlisten = ["udp:0:interface=127.0.0.1"]\nlimits = {}\n'
    file = tmp_path / "sockd.toml"
    file.write_text(text.format("{ reply_floor = 20 }"))
    server = Server(load(file, discovery.find), reactor)
    server.bind()
    await server.start()
    server.open()
    listener: Any = server.services[0].listeners[0]
    assert (listener.port._factor, listener.port._floor) == (1, 20)
    file.write_text(text.format("{ max_amplification = 0.5, reply_floor = 7 }"))
    assert (await server.reload(load(file, discovery.find))).limits == ("echo",)
    assert server.services[0].listeners == [listener]
    assert (listener.port._factor, listener.port._floor) == (0.5, 7)
    file.write_text(text.format("{}"))
    await server.reload(load(file, discovery.find))
    assert (listener.port._factor, listener.port._floor) == (1, 0)
    await server.stop()


def test_the_sample_has_a_service_for_each_table() -> None:
    sample = Path(__file__).parents[2] / "config/sockd.toml"
    config = load(sample, discovery.find)
    assert list(config.services) == list(tomllib.loads(sample.read_text())["service"])


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_a_port_is_its_own_for_as_long_as_any_listener_of_that_number_is_open(tmp_path: Path) -> None:
    text = '[service.echo]\nplugin = "echo"\nlisten = ["udp:0:interface=127.0.0.1"{}]\n'
    file = tmp_path / "sockd.toml"
    file.write_text(text.format(""))
    server = Server(load(file, discovery.find), reactor)
    server.bind()
    await server.start()
    server.open()
    (port,) = server.services[0].datagram_ports
    kinds = server._shared.loops.kinds
    file.write_text(text.format(f', "udp:{port}:interface=127.0.0.2", "udp:0:interface=127.0.0.3"'))
    await server.reload(load(file, discovery.find))
    assert kinds.count(OWN) == 2
    assert kinds[port] == OWN
    file.write_text(text.format(""))
    await server.reload(load(file, discovery.find))
    assert kinds.count(OWN) == 1
    assert kinds[port] == OWN
    await server.stop()
