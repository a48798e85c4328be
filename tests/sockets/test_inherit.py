"""Sockets that were open before the daemon."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockd.config import SocketOptions
from sockd.endpoint import Endpoint, InetEndpoint, UnixEndpoint, parse
from sockd.errors import BindError
from sockd.sockets.inherit import Inherited
from sockd.sockets.open import BoundSocket

OPTIONS = SocketOptions()

Given = Callable[..., Inherited]


@pytest.fixture
def first() -> int:
    """Return a descriptor above all open ones of this process."""
    return max(map(int, os.listdir("/proc/self/fd"))) + 100


@pytest.fixture
def given(first: int) -> Iterator[Given]:
    """Open descriptors in a row, as systemd passes them, under these names."""
    number = 0

    def give(*named: tuple[str, int]) -> Inherited:
        nonlocal number
        for descriptor, (_, original) in enumerate(named, first):
            os.dup2(original, descriptor, inheritable=True)
        number = len(named)
        names = ":".join(name for name, _ in named)
        return Inherited.from_environment(environment(number, names), first)

    yield give
    for descriptor in range(first, first + number):
        os.close(descriptor)


def environment(number: object, names: str) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(number), "LISTEN_FDNAMES": names}


def opened(inherited: Inherited, text: str) -> BoundSocket:
    return inherited.open_socket(parse(text), OPTIONS)


def reason(inherited: Inherited, text: str) -> str:
    with pytest.raises(BindError) as caught:
        opened(inherited, text)
    assert caught.value.endpoint == text
    return caught.value.reason


@pytest.fixture
def stream() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def datagrams() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_a_socket_is_found_by_its_name_and_is_what_it_is_bound_to(
    given: Given, stream: socket.socket
) -> None:
    port = stream.getsockname()[1]
    bound = opened(given(("echo", stream.fileno())), "systemd:echo")
    assert bound.endpoint == InetEndpoint("tcp", port, "127.0.0.1")
    assert bound.address == f"tcp:127.0.0.1:{port}"
    assert not bound.socket.getblocking()
    assert not bound.socket.get_inheritable()
    bound.close()


def test_one_name_may_stand_for_a_stream_and_for_datagrams(
    given: Given, stream: socket.socket, datagrams: socket.socket
) -> None:
    inherited = given(("echo", datagrams.fileno()), ("echo", stream.fileno()))
    first, second = opened(inherited, "systemd:echo"), opened(inherited, "systemd:echo:type=datagram")
    assert first.socket.getsockname() == stream.getsockname()
    assert second.socket.getsockname() == datagrams.getsockname()
    assert (first.endpoint.stream, second.endpoint.stream) == (True, False)
    first.close()
    second.close()


def test_several_of_one_name_are_told_apart_by_their_index(given: Given, stream: socket.socket) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        inherited = given(("web", stream.fileno()), ("web", other.fileno()))
        bound = opened(inherited, "systemd:web:index=1")
        assert bound.endpoint == InetEndpoint("tcp6", other.getsockname()[1], "::1")
        bound.close()
    assert "add :index=0 to :index=1" in reason(inherited, "systemd:web")
    assert "gave 2 of that name, counted from 0" in reason(inherited, "systemd:web:index=2")


def test_the_path_of_a_unix_socket_stays_for_it_is_systemds(given: Given, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        bound = opened(given(("echo", sock.fileno())), "systemd:echo")
        assert bound.endpoint == UnixEndpoint("unix", path)
        bound.close()
    assert path.exists()


def test_an_abstract_name_is_shown_as_systemd_writes_it(given: Given, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{tmp_path}")
        bound = opened(given(("log", sock.fileno())), "systemd:log:type=datagram")
        assert bound.endpoint == UnixEndpoint("unixgram", Path(f"@{tmp_path}"))
        bound.close()


def test_a_socket_outlives_its_listener_with_all_who_wait(given: Given, stream: socket.socket) -> None:
    inherited = given(("echo", stream.fileno()))
    opened(inherited, "systemd:echo").close()
    with socket.create_connection(stream.getsockname()) as client:
        again = opened(inherited, "systemd:echo")
        accepted, address = again.socket.accept()
        accepted.close()
        assert address == client.getsockname()
        again.close()


def test_programs_that_the_daemon_starts_inherit_nothing(
    given: Given, first: int, stream: socket.socket
) -> None:
    given(("echo", stream.fileno()))
    assert not os.get_inheritable(first)


def test_any_other_endpoint_is_opened_as_ever() -> None:
    bound = opened(Inherited.from_environment({}), "tcp:0:interface=127.0.0.1")
    assert bound.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    bound.close()


def test_a_name_that_is_not_there_is_told_with_those_that_are(given: Given, stream: socket.socket) -> None:
    inherited = given(("echo", stream.fileno()), ("upper", stream.fileno()))
    told = reason(inherited, "systemd:uper")
    assert told == "systemd gave no socket of that name, but echo, upper; did you mean 'upper'?"
    assert reason(inherited, "systemd:x").endswith("but echo, upper")


def test_a_socket_of_the_other_type_is_told_with_the_cure(given: Given, datagrams: socket.socket) -> None:
    inherited = given(("echo", datagrams.fileno()))
    assert reason(inherited, "systemd:echo").endswith("of the other type: systemd:echo:type=datagram")


def test_a_connection_is_not_taken_for_a_listener(given: Given) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert "Accept=no" in reason(given(("echo", one.fileno())), "systemd:echo")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "systemd has not started this process with sockets"),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, "systemd gave its sockets to process 1, and this is"),
        (environment("x", "a"), "expected a number of sockets in LISTEN_FDS, found 'x'"),
        (environment(-1, "a"), "expected a number of sockets in LISTEN_FDS, found '-1'"),
        (environment("9" * 5000, "a"), "expected a number of sockets in LISTEN_FDS"),
        (environment(2, "a"), "expected 2 names in LISTEN_FDNAMES, found 1"),
    ],
)
def test_a_socket_that_systemd_did_not_give_is_reported_with_the_reason(
    environ: dict[str, str], told: str
) -> None:
    assert reason(Inherited.from_environment(environ), "systemd:echo").startswith(told)


def test_a_file_that_is_no_socket_is_left_alone(given: Given, first: int, stream: socket.socket) -> None:
    file = os.open("/dev/null", os.O_RDONLY)
    inherited = given(("store", file), ("echo", stream.fileno()))
    os.close(file)
    assert list(inherited.names) == ["echo"]
    assert os.fstat(first)
    only_file = Inherited.from_environment(environment(1, "store"), first)
    assert reason(only_file, "systemd:store").startswith("none of what systemd gave is a socket")


PROGRAM = """
from sockd.config import SocketOptions
from sockd.endpoint import parse
from sockd.sockets.inherit import Inherited
bound = Inherited.from_environment().open_socket(parse("systemd:web"), SocketOptions())
bound.socket.setblocking(True)
peer, _ = bound.socket.accept()
peer.sendall(bound.address.encode())
"""


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd is not installed")
def test_systemds_own_tool_hands_a_socket_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    command = [
        "systemd-socket-activate",
        "--listen",
        str(path),
        "--fdname=web",
        sys.executable,
        "-c",
        PROGRAM,
    ]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as activator,
        socket.socket(socket.AF_UNIX) as client,
    ):
        assert activator.stderr is not None
        assert "Listening" in activator.stderr.readline()
        client.settimeout(20)
        client.connect(str(path))
        assert client.recv(200).decode() == f"unix:{path}"


def test_an_endpoint_of_systemd_is_like_any_other() -> None:
    endpoint: Endpoint = parse("systemd:echo")
    assert endpoint.backlog is None
