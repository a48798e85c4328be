"""Holder of an address that is in use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockd.config import SocketOptions
from sockd.endpoint import InetEndpoint, UnixEndpoint, parse
from sockd.errors import BindError
from sockd.sockets.holder import holder, listener_at
from sockd.sockets.open import open_socket

HOLDS = """
import socket, sys
family, kind, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
sock = socket.socket(family, kind)
sock.bind(address if family == socket.AF_UNIX else (address, 0))
if kind == socket.SOCK_STREAM:
    sock.listen()
print(sock.getsockname() if family == socket.AF_UNIX else sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def held(
    family: int, kind: int, address: str, program: str = sys.executable, *words: str
) -> Iterator[tuple[int, int]]:
    """Return a port that another process holds, and that process's id."""
    command = [program, "-c", HOLDS, str(int(family)), str(int(kind)), address, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        yield int(port) if port.isdigit() else 0, process.pid
        process.communicate()


@pytest.mark.parametrize(
    ("scheme", "family", "kind", "theirs", "ours"),
    [
        ("tcp", socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", "127.0.0.1"),
        ("tcp", socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", ""),
        ("udp", socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1", "127.0.0.1"),
        ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, "::1", "::1"),
        ("udp6", socket.AF_INET6, socket.SOCK_DGRAM, "::1", "::1"),
    ],
)
def test_the_process_that_holds_a_port_is_named(
    scheme: str, family: int, kind: int, theirs: str, ours: str
) -> None:
    with held(family, kind, theirs) as (port, pid):
        endpoint = InetEndpoint(scheme, port, ours)  # type: ignore[arg-type]
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        assert holder(endpoint) == f" by {name}, pid {pid}"


def test_a_port_of_another_address_is_not_meant() -> None:
    with held(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1") as (port, _):
        assert holder(InetEndpoint("tcp", port, "127.0.0.2")) == ""


@pytest.mark.parametrize("scheme", ["unix", "unixgram"])
def test_the_process_that_holds_a_path_is_named(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "a b"
    kind = socket.SOCK_STREAM if scheme == "unix" else socket.SOCK_DGRAM
    with held(socket.AF_UNIX, kind, str(path)) as (_, pid):
        assert holder(UnixEndpoint(scheme, path)).endswith(f", pid {pid}")  # type: ignore[arg-type]


def test_a_port_that_this_process_holds_itself_is_told_so() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(BindError, match=r"the address is already in use by this process itself$"):
            open_socket(parse(f"tcp:{port}:interface=127.0.0.1"), SocketOptions())


def test_the_daemon_of_the_same_configuration_is_this_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("sockd", "-c", f"{tmp_path}/./it.toml")
    with held(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", sys.executable, *words) as (port, pid):
        endpoint = InetEndpoint("tcp", port, "127.0.0.1")
        for own in ("sockd check --bind -c it.toml", "/bin/twistd sockd --config=it.toml"):
            monkeypatch.setattr(sys, "argv", own.split())
            assert holder(endpoint) == f": this daemon already runs, pid {pid}"
        monkeypatch.setattr(sys, "argv", ["sockd", "run", "-c", "other.toml"])
        assert holder(endpoint) == f" by sockd, pid {pid}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_user_of_another_users_process_is_named() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        code = (
            "import os, sys\n"
            "from sockd.endpoint import InetEndpoint; from sockd.sockets.holder import holder\n"
            "os.setgid(65533); os.setuid(65533)\n"
            "print(holder(InetEndpoint('tcp', int(sys.argv[1]), '127.0.0.1')))"
        )
        command = [sys.executable, "-c", code, str(port)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == " by a process of the user root\n"


def test_a_connection_that_has_ended_is_held_by_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first keeps the address for a minute (TIME_WAIT)
        assert client.recv(1) == b""
        client.close()
    assert holder(InetEndpoint("tcp", port, "127.0.0.1")) == ""


def test_a_listener_is_found_by_its_path_although_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert listener_at(path) is None
    with held(socket.AF_UNIX, socket.SOCK_STREAM, str(path)) as (_, pid):
        path.unlink()
        assert listener_at(path) == pid
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        assert listener_at(path) is None
