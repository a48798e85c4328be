"""Addresses of peers behind a proxy that speaks the PROXY protocol."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from twisted.internet.address import IPv4Address, IPv6Address

from running import PATIENCE, Daemon
from serving import serving
from sockd.stream.proxy import render

WHO = """
from twisted.internet.protocol import Protocol

class Who(Protocol):
    \"\"\"Tells each peer who it is, then echoes.\"\"\"

    def connectionMade(self):
        peer = self.transport.getPeer()
        self.transport.write(f"{peer.host} {peer.port}\\n".encode())

    def dataReceived(self, data):
        self.transport.write(data)
"""

CONFIG = """
[service.require]
plugin = "factory"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", proxy_protocol = { trust = ["127.0.0.1"] } }]
options.factory = "who:Who"
limits.header_timeout = "1s"
limits.max_per_source = 1

[service.allow]
plugin = "factory"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", proxy_protocol = { trust = ["127.0.0.1"], mode = "allow" } },
]
options.factory = "who:Who"
limits.header_timeout = "200ms"

[service.stranger]
plugin = "factory"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", proxy_protocol = { trust = ["192.0.2.0/24"] } }]
options.factory = "who:Who"
"""

CLIENTS: dict[str, tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]] = {
    "IPv4": (IPv4Address("TCP", "203.0.113.5", 1234), IPv4Address("TCP", "203.0.113.80", 443)),
    "IPv6": (IPv6Address("TCP", "2001:db8::5", 1234), IPv6Address("TCP", "2001:db8::80", 443)),
}


@pytest.fixture(scope="module", params=["uv", "epoll"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "who.py").write_text(WHO)
    with serving(folder, CONFIG, request.param) as daemon:
        yield daemon


def connect(daemon: Daemon, service: str) -> socket.socket:
    return socket.create_connection(daemon.port(service), PATIENCE)


def all_of(client: socket.socket) -> bytes:
    received = b""
    while data := client.recv(65536):
        received += data
    return received


@pytest.mark.parametrize("service", ["require", "allow"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("family", CLIENTS)
@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_a_plugin_sees_the_true_client(
    daemon: Daemon, service: str, version: int, family: str, byte_by_byte: bool
) -> None:
    source, destination = CLIENTS[family]
    data = render(source, destination, 1 if version == 1 else 2) + b"hello"
    with connect(daemon, service) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in [data[i : i + 1] for i in range(len(data))] if byte_by_byte else [data]:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == f"{source.host} 1234\nhello".encode()


@pytest.mark.parametrize("version", [1, 2])
def test_a_proxys_own_check_is_served_as_itself(daemon: Daemon, version: int) -> None:
    with connect(daemon, "require") as client:
        client.sendall(render(None, None, 1 if version == 1 else 2))
        client.shutdown(socket.SHUT_WR)
        host, port = client.getsockname()
        assert all_of(client) == f"{host} {port}\n".encode()


def test_without_a_header_allow_serves_the_peer_itself(daemon: Daemon) -> None:
    with connect(daemon, "allow") as client:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert all_of(client).endswith(b"\nhello")
    with connect(daemon, "allow") as silent:
        assert silent.recv(100).startswith(b"127.0.0.1 ")


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"", b"PROXY TCP4 "])
def test_without_a_header_require_ends_the_stream(daemon: Daemon, sent: bytes) -> None:
    with connect(daemon, "require") as client:
        client.sendall(sent)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_proxy_that_is_not_trusted_is_refused(daemon: Daemon) -> None:
    with connect(daemon, "stranger") as client:
        assert client.recv(1) == b""
    daemon.wait_for("connection refused", reason="proxy not trusted")


def test_a_limit_per_source_is_one_per_true_client(daemon: Daemon) -> None:
    source, destination = CLIENTS["IPv4"]
    other = IPv4Address("TCP", "203.0.113.6", 99)
    with connect(daemon, "require") as first, connect(daemon, "require") as second:
        first.sendall(render(source, destination, 2))
        assert first.recv(100) == b"203.0.113.5 1234\n"
        second.sendall(render(source, destination, 2))
        assert second.recv(100) == b""
        with connect(daemon, "require") as third:
            third.sendall(render(other, destination, 2))
            assert third.recv(100) == b"203.0.113.6 99\n"
