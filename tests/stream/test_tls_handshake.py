"""TLS handshake in front of a stream, and the bounds on unfinished ones."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost

from sockd.limits import Terms
from sockd.stream import proxy
from sockd.tls.credentials import Credentials, Settings
from tests.memory import Recorder, World
from tests.tls.authority import issue
from tests.tls.ends import Client, Raw

PROXY = IPv4Address("TCP", "192.0.2.7", 50000)
STRANGER = IPv4Address("TCP", "198.51.100.9", 50000)
CLIENT = IPv4Address("TCP", "203.0.113.5", 1234)
TARGET = IPv4Address("TCP", "203.0.113.80", 443)


class Peers(Recorder):
    """Protocol that writes down who its peer is."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.happened.append(self.transport.getPeer())


@pytest.fixture
def world() -> World:
    return World(Terms(3, max_per_source=2))


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials(Settings(*issue("localhost").write(tmp_path_factory.mktemp("tls"))))


@pytest.mark.parametrize("mode", ["require", ""])
def test_the_end_of_the_daemon_cuts_who_is_on_the_way_in(
    world: World, mode: str, credentials: Credentials
) -> None:
    transport = world.enter(world.factory(lambda _: Peers(), mode=mode, credentials=credentials), PROXY)
    assert world.connections.cut("drain timeout") == 1
    assert transport.lost
    assert world.refused("drain timeout") == 1
    assert world.is_empty()


class Wire:
    """TLS client and listener, with the wire between them."""

    def __init__(
        self, world: World, build: Callable[[], Any], credentials: Credentials, mode: str = ""
    ) -> None:
        self.raw = Raw()
        door = world.factory(lambda _: build(), credentials=credentials, mode=mode, over_tcp=True)
        entry: Any = door.buildProtocol(PROXY)
        self.raw.protocol = entry
        entry.makeConnection(self.raw)
        self.client = Client()
        self._arrived = 0

    def exchange(self, first: bytes = b"", piece: int = 65536) -> None:
        """Exchange bytes until neither side has any left."""
        for _ in range(6):
            data, first = first + self.client.speak(), b""
            for start in range(0, len(data), piece):
                if not self.raw.lost:
                    self.raw.protocol.dataReceived(data[start : start + piece])
            self.raw.turn()
            arrived, self._arrived = self.raw.taken[self._arrived :], len(self.raw.taken)
            self.client.hear(arrived)


def test_the_plugin_meets_its_peer_only_after_the_handshake(world: World, credentials: Credentials) -> None:
    protocol = Peers()
    wire = Wire(world, lambda: protocol, credentials)
    assert world.connections.handshakes.unfinished == world.admission.open == 1
    assert protocol.happened == []
    wire.exchange()
    assert world.connections.handshakes.unfinished == 0
    assert protocol.happened == [PROXY]
    wire.exchange(wire.client.encrypt(b"secret"))
    assert protocol.happened == [PROXY, b"secret"]
    wire.raw.lose(ConnectionLost())
    assert world.is_empty()


@pytest.mark.parametrize("piece", [1, 65536])
def test_tls_may_begin_in_the_same_read_as_the_proxy_header(
    world: World, credentials: Credentials, piece: int
) -> None:
    protocol = Peers()
    wire = Wire(world, lambda: protocol, credentials, mode="require")
    wire.exchange(proxy.render(CLIENT, TARGET, 2), piece)
    assert protocol.happened == [CLIENT]
    wire.raw.lose(ConnectionLost())
    assert world.is_empty()


@pytest.mark.parametrize("said", ["nothing", "half"])
def test_a_handshake_that_takes_too_long_ends(world: World, credentials: Credentials, said: str) -> None:
    """Both of a silent peer and of one that stops in the middle."""
    wire = Wire(world, Peers, credentials)
    if said == "half":
        wire.raw.protocol.dataReceived(wire.client.speak()[:100])
    world.run(10.2)
    wire.raw.turn()
    assert wire.raw.lost
    assert world.refused("handshake timeout") == 1
    assert world.is_empty()


def test_what_is_not_tls_is_refused_with_its_reason(world: World, credentials: Credentials) -> None:
    wire = Wire(world, Peers, credentials)
    wire.raw.protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    wire.raw.turn()
    assert wire.raw.half_closed
    assert world.refused("not tls") == 1
    assert world.is_empty()


def test_unfinished_handshakes_are_bounded(credentials: Credentials) -> None:
    world = World(max_handshakes=2, max_connections=10)
    wires = [Wire(world, Peers, credentials) for _ in range(2)]
    hellos = [wire.client.speak() for wire in wires]
    for wire, hello in zip(wires, hellos, strict=True):
        wire.raw.protocol.dataReceived(hello[:1])
    third = Wire(world, Peers, credentials)
    third.raw.turn()
    assert third.raw.lost
    assert world.refused("max_handshakes") == 1
    wires[0].exchange(hellos[0][1:])
    Wire(world, Peers, credentials)
    assert world.connections.handshakes.unfinished == 2


@pytest.mark.parametrize("build", [lambda: None, lambda: 1 / 0], ids=["nothing", "an error"])
def test_a_peer_that_the_plugin_does_not_want_is_gone_after_the_handshake(
    world: World, credentials: Credentials, build: Callable[[], Any]
) -> None:
    """Closing would wait for the peer to close, and nobody counts it any more."""
    wire = Wire(world, build, credentials)
    wire.exchange()
    assert wire.raw.lost
    assert world.is_empty()


def test_a_peer_that_says_nothing_costs_no_session_of_openssl(credentials: Credentials) -> None:
    """Sessions take tens of kilobytes."""
    world = World()
    made: list[int] = []
    connection = credentials.connection
    counted: Any = SimpleNamespace(connection=lambda: made.append(1) or connection())  # type: ignore[func-returns-value]
    wire = Wire(world, Peers, counted)
    hello = wire.client.speak()
    wire.raw.protocol.dataReceived(hello[:-1])
    assert made == []
    wire.raw.protocol.dataReceived(hello[-1:])
    assert made == [1]


def test_handshakes_over_their_rate_wait_and_are_then_completed(credentials: Credentials) -> None:
    world = World(handshake_rate="1/s")
    protocols = [Peers() for _ in range(3)]
    wires = [Wire(world, lambda each=each: each, credentials) for each in protocols]  # type: ignore[misc]
    for wire in wires:
        wire.exchange()
    assert [len(protocol.happened) for protocol in protocols] == [1, 0, 0]
    world.run(1.1)
    for wire in wires:
        wire.exchange()
    assert [len(protocol.happened) for protocol in protocols] == [1, 1, 0]
    wires[2].raw.lose(ConnectionDone())
    assert world.connections.handshakes.unfinished == 0
    assert world.admission.open == 2


def test_who_waits_for_its_handshake_for_too_long_is_refused(credentials: Credentials) -> None:
    world = World(handshake_rate="1/m", handshake_timeout="5s")
    wires = [Wire(world, Peers, credentials) for _ in range(2)]
    for wire in wires:
        wire.exchange()
    world.run(5.2)
    wires[1].raw.turn()
    assert world.refused("handshake timeout") == 1
    assert wires[1].raw.lost
    assert not wires[0].raw.lost


def test_who_waits_for_its_handshake_is_read_no_further_than_to_a_bound(credentials: Credentials) -> None:
    world = World(handshake_rate="1/m")
    first, second = (Wire(world, Peers, credentials) for _ in range(2))
    first.exchange()
    for _ in range(20):
        if second.raw.reading:
            second.raw.protocol.dataReceived(b"\x16\x03\x01\x40\x00" + b"x" * 1000)
    assert not second.raw.reading
    world.connections.handshakes.change(None)
    second.raw.turn()
    assert second.raw.half_closed
    assert world.is_empty() is False  # the first is there
    assert world.admission.open == 1


def test_a_silent_peer_makes_room_for_one_who_speaks(credentials: Credentials) -> None:
    world = World(Terms(3))
    silent = [Wire(world, Peers, credentials) for _ in range(3)]
    speaking = Wire(world, Peers, credentials)
    speaking.exchange()
    assert [wire.raw.aborted for wire in silent] == [True, False, False]
    assert world.refused("silent") == 1
    assert world.refused("max_connections") == 0
    assert world.admission.open == 3
    assert world.events.counts["opened", ""] == 1


def test_a_silent_handshake_makes_room_for_the_next(credentials: Credentials) -> None:
    world = World(Terms(9), max_handshakes=2)
    silent = [Wire(world, Peers, credentials) for _ in range(5)]
    assert [wire.raw.aborted for wire in silent] == [True] * 3 + [False] * 2
    silent[-1].exchange()
    assert world.events.counts["opened", ""] == 1
    assert world.connections.handshakes.unfinished == 1


def test_a_peer_that_has_stopped_in_its_handshake_makes_room_after_the_silent_ones(
    credentials: Credentials,
) -> None:
    world = World(Terms(2))
    stalled, silent = Wire(world, Peers, credentials), Wire(world, Peers, credentials)
    stalled.raw.protocol.dataReceived(b"\x16")
    world.run(1.1)
    Wire(world, Peers, credentials)
    assert (stalled.raw.aborted, silent.raw.aborted) == (False, True)
    last = Wire(world, Peers, credentials)
    assert not stalled.raw.aborted
    last.raw.protocol.dataReceived(b"\x16")
    Wire(world, Peers, credentials)
    assert stalled.raw.aborted


def test_a_connection_that_has_come_in_makes_no_room(credentials: Credentials) -> None:
    world = World(Terms(1))
    inside = Wire(world, Peers, credentials)
    inside.exchange()
    world.run(10)
    with pytest.raises(AttributeError):
        Wire(world, Peers, credentials)
    assert not inside.raw.aborted
    assert world.refused("max_connections") == 1
