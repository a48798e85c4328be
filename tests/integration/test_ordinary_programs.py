"""Socket programs of tutorials, with Python's `socket` alone, and the usual clients."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from running import PATIENCE, Daemon


def connected(address: tuple[str, int]) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(PATIENCE)
    client.connect(address)
    return client


def datagrams() -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(PATIENCE)
    return client


def until(client: socket.socket, wanted: bytes) -> bytes:
    """Receive until `wanted` has come."""
    received = b""
    while wanted not in received:
        data = client.recv(1024)
        assert data, f"closed after {received!r}, expected {wanted!r}"
        received += data
    return received


def test_a_client_that_sends_all_and_receives_the_echo(daemon: Daemon) -> None:
    with connected(daemon.port("echo")) as client:
        client.sendall(b"Hello, world")
        assert client.recv(1024) == b"Hello, world"


def test_a_scanner_that_uses_connect_ex_finds_the_port_open(daemon: Daemon) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        assert client.connect_ex(daemon.port("echo")) == 0


def test_a_client_that_waits_for_the_banner(daemon: Daemon) -> None:
    with connected(daemon.port("banner")) as client:
        assert client.recv(1024) == b"This is socket!"
        assert client.recv(1024) == b""


def test_a_client_that_speaks_before_the_banner_still_gets_it_whole(daemon: Daemon) -> None:
    for _ in range(20):
        with connected(daemon.port("banner")) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
            assert until(client, b"!") == b"This is socket!"
            assert client.recv(1024) == b""


def test_a_client_that_says_test_client_and_hears_test_server(daemon: Daemon) -> None:
    with connected(daemon.port("reply")) as client:
        client.send(b"test client")
        assert client.recv(1024) == b"test server"


def test_a_client_that_sends_words_in_a_loop_and_prints_them_in_upper_case(daemon: Daemon) -> None:
    with connected(daemon.port("upper")) as client:
        for word in ("one", "two", "straße", "żółw", "three"):
            client.send(word.encode())
            assert client.recv(1024).decode() == word.upper()


def test_a_client_that_sends_an_empty_datagram_and_prints_the_time(daemon: Daemon) -> None:
    with datagrams() as client:
        client.sendto(b"", daemon.port("time", "udp"))
        data, server = client.recvfrom(1024)
        assert server == daemon.port("time", "udp")
        shown = datetime.strptime(data.decode(), "%Y-%m-%d %X")
        assert abs((datetime.now() - shown).total_seconds()) < PATIENCE


def test_a_client_that_asks_for_the_time_in_its_own_format(daemon: Daemon) -> None:
    with datagrams() as client:
        client.sendto(b"%Y", daemon.port("time", "udp"))
        assert client.recvfrom(1024)[0].decode() == str(datetime.now().year)


def test_several_udp_chatters_hear_each_other(daemon: Daemon) -> None:
    server = daemon.port("chat", "udp")
    clients = {name: datagrams() for name in ("ann", "bob", "cid")}
    try:
        for name, client in clients.items():
            client.sendto(name.encode(), server)
            until(client, name.encode())
        for name, client in clients.items():
            client.sendto(f"hello from {name}".encode(), server)
            for listener, other in clients.items():
                if listener != name:
                    assert f"hello from {name}".encode() in until(other, f"hello from {name}".encode())
    finally:
        for client in clients.values():
            client.sendto(b"/quit", server)
            client.close()


def test_people_over_tcp_and_udp_are_in_the_same_room(daemon: Daemon) -> None:
    with connected(daemon.port("chat")) as tcp, datagrams() as udp:
        tcp.sendall(b"tess\n")
        until(tcp, b"tess")
        udp.sendto(b"ulla", daemon.port("chat", "udp"))
        until(tcp, b"ulla")
        udp.sendto(b"over the wire", daemon.port("chat", "udp"))
        until(tcp, b"over the wire")
        tcp.sendall(b"/msg ulla only you\n")
        until(udp, b"only you")
        udp.sendto(b"/quit", daemon.port("chat", "udp"))


def test_a_dialogue_between_a_client_and_the_operator(daemon: Daemon) -> None:
    operator = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    operator.settimeout(PATIENCE)
    with connected(daemon.port("desk")) as client, operator:
        client.sendall(b"is anybody there?\n")
        operator.connect(daemon.path("desk"))
        shown = until(operator, b"is anybody there?").decode()
        name = re.search(r"\b(c\d+)\b", shown)
        assert name, shown
        operator.sendall(f"{name[1]} yes, I am\n".encode())
        until(client, b"yes, I am")
        client.sendall(b"q\n")
        while client.recv(1024):
            pass


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def shell(*command: str, text: bytes) -> bytes:
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, timeout=PATIENCE, check=False)
    return done.stdout


Command = Callable[[str, str], tuple[str, ...]]
TCP_CLIENTS = [
    pytest.param(lambda host, port: ("nc", "-N", host, port), marks=needs("nc"), id="nc"),
    pytest.param(lambda host, port: ("ncat", host, port), marks=needs("ncat"), id="ncat"),
    pytest.param(
        lambda host, port: ("socat", "-t5", "-", f"TCP:{host}:{port}"), marks=needs("socat"), id="socat"
    ),
]


@pytest.mark.parametrize("client", TCP_CLIENTS)
@pytest.mark.parametrize(
    ("service", "text", "answer"),
    [("echo", b"hello\n" * 1000, b"hello\n" * 1000), ("upper", b"hello\n", b"HELLO\n")],
)
def test_a_pipe_through_a_line_client_gets_the_whole_answer(
    daemon: Daemon, client: Command, service: str, text: bytes, answer: bytes
) -> None:
    host, port = daemon.port(service)
    assert shell(*client(host, str(port)), text=text) == answer


@pytest.mark.parametrize("client", TCP_CLIENTS)
def test_a_line_client_reads_the_banner_and_ends(daemon: Daemon, client: Command) -> None:
    host, port = daemon.port("banner")
    assert shell(*client(host, str(port)), text=b"") == b"This is socket!"


@needs("nc")
def test_a_file_sent_with_nc_is_received_whole(daemon: Daemon, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    host, port = daemon.port("files", which=1)
    answer = shell("nc", "-N", host, str(port), text=content).decode()
    assert hashlib.sha256(content).hexdigest() in answer


@needs("socat")
@pytest.mark.parametrize(("service", "answer"), [("echo", b"hello"), ("upper", b"HELLO")])
def test_socat_speaks_to_unix_sockets_and_udp(daemon: Daemon, service: str, answer: bytes) -> None:
    assert shell("socat", "-t5", "-", f"UNIX:{daemon.path(service)}", text=b"hello") == answer
    host, port = daemon.port(service, "udp")
    assert shell("socat", "-t0.5", "-", f"UDP:{host}:{port}", text=b"hello") == answer


@needs("curl")
def test_an_existing_twisted_site_is_served_without_plugin_code(daemon: Daemon) -> None:
    host, port = daemon.port("web")
    done = subprocess.run(
        ["curl", "-s", f"http://{host}:{port}/"], stdout=subprocess.PIPE, timeout=PATIENCE, check=False
    )
    assert b"Hello" in done.stdout or b"hello" in done.stdout
