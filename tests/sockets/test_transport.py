from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from sockd.sockets.transport import (
    ASKED_BELOW,
    TCP_INFO_SIZE,
    bytes_moved,
    counts_bytes,
    passes_on,
    seconds_quiet,
    tcp_socket,
    unsent_bytes,
)


@dataclass
class Tcp:
    """Transport of which only the socket is real."""

    socket: socket.socket

    def tcp_info(self) -> bytes:
        return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)


@dataclass
class Encrypted:
    raw: object


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return an accepted stream and its client."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname(), 5)
        accepted, _ = server.accept()
    with client, accepted:
        yield accepted, client


def test_the_kernel_counts_what_was_received_and_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    accepted, client = pair
    client.sendall(b"x" * 1000)
    accepted.recv(1000, socket.MSG_WAITALL)
    accepted.sendall(b"y" * 300)
    client.recv(300, socket.MSG_WAITALL)
    assert bytes_moved(Tcp(accepted)) == (1000, 300)
    assert bytes_moved(Encrypted(Tcp(accepted))) == (1000, 300)


def test_the_end_of_the_peer_is_no_byte(pair: tuple[socket.socket, socket.socket]) -> None:
    accepted, client = pair
    client.sendall(b"x" * 1000)
    client.shutdown(socket.SHUT_WR)
    while accepted.recv(4096):
        pass
    assert bytes_moved(Tcp(accepted)) == (1000, 0)


def test_a_reset_peer_is_still_counted(pair: tuple[socket.socket, socket.socket]) -> None:
    accepted, client = pair
    client.sendall(b"x" * 1000)
    accepted.recv(1000, socket.MSG_WAITALL)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with pytest.raises(ConnectionResetError):
        accepted.recv(1)
    assert bytes_moved(Tcp(accepted)) == (1000, 0)


def test_bytes_that_the_kernel_has_taken_count_before_the_peer_reads_them(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    accepted, _ = pair
    accepted.setblocking(False)
    taken = 0
    with suppress(BlockingIOError):
        while True:
            taken += accepted.send(b"y" * 65536)
    assert bytes_moved(Tcp(accepted)) == (0, taken)
    accepted.shutdown(socket.SHUT_WR)
    assert bytes_moved(Tcp(accepted)) == (0, taken)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_the_ends_of_both_sides_are_no_bytes(pair: tuple[socket.socket, socket.socket], first: str) -> None:
    accepted, client = pair
    client.sendall(b"x" * 1000)
    accepted.recv(1000, socket.MSG_WAITALL)
    accepted.sendall(b"y" * 300)
    client.recv(300, socket.MSG_WAITALL)
    for side in (accepted, client) if first == "ours" else (client, accepted):
        side.shutdown(socket.SHUT_WR)
    assert accepted.recv(1) == client.recv(1) == b""
    assert bytes_moved(Tcp(accepted), done=True) == (1000, 300)


def test_the_kernel_counts_bytes_of_tcp_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        assert counts_bytes(tcp)
        assert not counts_bytes(unix)
    try:
        mptcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    except OSError:
        pytest.skip("the kernel has no MPTCP")
    with mptcp:
        assert not counts_bytes(mptcp)


def test_where_the_kernel_cannot_tell_nothing_is_counted() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert bytes_moved(object()) == (0, 0)
        assert tcp_socket(Tcp(ours)) is None


def test_the_kernel_knows_how_long_nothing_has_moved(pair: tuple[socket.socket, socket.socket]) -> None:
    accepted, client = pair
    client.sendall(b"x")
    accepted.recv(1)
    handle = tcp_socket(Tcp(accepted))
    assert handle is accepted
    assert 0 <= seconds_quiet(Tcp(accepted)) < 5


class Stock:
    """Twisted's transports, as far as their buffer is concerned."""

    def __init__(self) -> None:
        self.dataBuffer = b"x" * 100
        self.offset = 30
        self._tempDataLen = 7


class Fast:
    def getWriteBufferSize(self) -> int:
        return 5


def test_unsent_bytes_are_known_of_each_kind_of_transport() -> None:
    assert unsent_bytes(Stock()) == 77
    assert unsent_bytes(Fast()) == 5
    assert unsent_bytes(Encrypted(Fast())) == 5
    assert unsent_bytes(object()) == 0


def test_names_of_twisted_s_transports_are_answered_by_the_one_below() -> None:
    class Below:
        client = ("192.0.2.1", 1)

    @passes_on("transport", *ASKED_BELOW)
    class Above:
        transport = Below()

    above: Any = Above()
    assert above.client == ("192.0.2.1", 1)
    assert not hasattr(above, "negotiatedProtocol")  # so that `hasattr` has a true answer
    with pytest.raises(AttributeError):
        above.client = None
