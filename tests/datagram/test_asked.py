"""Answers of a port of all addresses leave from the address that was asked; a connected client takes no
other."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock

from sockd.config import SocketOptions
from sockd.datagram import DatagramPort, Loops
from sockd.datagram.asked import Asked
from sockd.datagram.port import BUSY
from sockd.endpoint import parse
from sockd.limits import Admission, Terms
from sockd.plugin import Replies
from sockd.sockets.open import open_socket
from sockd.telemetry.events import ServiceEvents

WAYS = {
    "IPv4": ("udp:0", {}, "127.0.0.2"),
    "IPv4, asked at another": ("udp:0", {}, "127.3.2.1"),
    "IPv6": ("udp6:0", {}, "::1"),
    "IPv4 on a port for both": ("udp6:0", {"v6_only": False}, "127.0.0.2"),
}


class Echo(DatagramProtocol):
    """Protocol that answers at once, or keeps the question."""

    def __init__(self) -> None:
        self.later = False
        self.kept: list[tuple[bytes, Any]] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if self.later:
            self.kept.append((datagram, addr))
        else:
            assert self.transport is not None
            self.transport.write(datagram, tuple(addr))

    def answer_all(self) -> None:
        """Answer the kept questions."""
        assert self.transport is not None
        while self.kept:
            self.transport.write(*self.kept.pop(0))


class Reactor(Clock):
    def addReader(self, _: object) -> None: ...


class Serving:
    def __init__(self, stack: ExitStack, endpoint: str, options: dict[str, Any], host: str) -> None:
        self._stack, self._host = stack, host
        self.bound = open_socket(parse(endpoint), SocketOptions(**options))
        stack.callback(self.bound.close)
        self.protocol = Echo()
        reactor = Reactor()
        self.events = ServiceEvents("test", reactor.seconds)
        admission = Admission(Terms(1), reactor.seconds)
        loops = Loops(reactor.seconds)
        self.port = DatagramPort(self.bound, self.protocol, Replies(), admission, loops, self.events, reactor)
        self.port.startListening()

    def client(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        client = self._stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        client.settimeout(5)
        client.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        client.connect((self._host, self.bound.socket.getsockname()[1]))
        return client


@pytest.fixture(params=WAYS)
def serving(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with ExitStack() as stack:
        yield Serving(stack, *WAYS[request.param])


@pytest.mark.parametrize("turns", [[0], [BUSY], [0, BUSY, 0, BUSY]], ids=["one by one", "in batches", "both"])
def test_each_answer_comes_from_the_address_that_was_asked(serving: Serving, turns: list[int]) -> None:
    clients = [serving.client() for _ in range(5)]
    for turn, arrived in enumerate(turns):
        for number, client in enumerate(clients):
            client.send(b"%d %d" % (turn, number))
        serving.port._arrived = arrived
        serving.port.doRead()
        for number, client in enumerate(clients):
            assert client.recv(100) == b"%d %d" % (turn, number)
    assert not serving.events.counts


@pytest.mark.parametrize("arrived", [0, BUSY], ids=["one by one", "in batches"])
def test_an_answer_that_comes_later_leaves_from_the_address_that_was_asked_too(
    serving: Serving, arrived: int
) -> None:
    serving.protocol.later = True
    clients = [serving.client() for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    serving.port._arrived = arrived
    serving.port.doRead()
    serving.protocol.answer_all()
    assert [client.recv(10) for client in clients] == [b"0", b"1", b"2"]
    assert not serving.events.counts


def test_a_port_of_one_address_does_not_ask() -> None:
    bound = open_socket(parse("udp:0:interface=127.0.0.1"), SocketOptions())
    assert Asked.of(bound.socket) is None
    bound.close()


def test_datagrams_that_waited_before_anybody_asked_are_answered_from_there_too() -> None:
    """The socket may have been opened by another process, long ago."""
    with ExitStack() as stack:
        bound = open_socket(parse("udp:0"), SocketOptions())
        stack.callback(bound.close)
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.connect(("127.0.0.2", bound.socket.getsockname()[1]))
        client.send(b"early")
        asked = Asked.of(bound.socket)
        assert asked is not None
        _, control, _, _ = bound.socket.recvmsg(100, asked.control_size)
        bound.socket.sendmsg([b"answer"], asked.message(asked.route(control)), 0, client.getsockname())
        client.settimeout(5)
        assert client.recv(100) == b"answer"


@pytest.mark.parametrize("endpoint", ["udp:0", "udp6:0"])
def test_only_a_link_local_address_is_bound_to_its_interface(endpoint: str) -> None:
    """An answer from any other may leave by another interface than the question came."""
    bound = open_socket(parse(endpoint), SocketOptions())
    asked = Asked.of(bound.socket)
    bound.close()
    assert asked is not None
    if endpoint == "udp:0":
        came, goes = asked.form.pack(7, bytes(4), b"\xc0\0\2\1"), asked.form.pack(0, b"\xc0\0\2\1", bytes(4))
        cases = {came: goes}
    else:
        local, other = (socket.inet_pton(socket.AF_INET6, host) for host in ("fe80::1", "2001:db8::1"))
        cases = {asked.form.pack(local, 7): asked.form.pack(local, 7)}
        cases[asked.form.pack(other, 7)] = asked.form.pack(other, 0)
    for came, goes in cases.items():
        for content in (came, goes):
            assert asked.route([(asked.level, asked.kind, content)]) == goes
            assert asked.route_of(asked.block(content)) == goes


def test_without_an_answer_from_the_kernel_the_choice_is_left_to_it() -> None:
    with ExitStack() as stack:
        serving = Serving(stack, "udp:0", {}, "127.0.0.1")
        asked = Asked.of(serving.bound.socket)
        assert asked is not None
        assert asked.route([]) == b""
        assert not asked.message(b"")
        assert asked.route_of(asked.block(b"")) == asked.form.pack(0, bytes(4), bytes(4))
