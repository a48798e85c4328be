from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone, ConnectionLost

from sockd.config.network_sets import Networks
from sockd.limits import AccessList, Terms
from sockd.stream import proxy
from sockd.tls.credentials import Credentials, Settings
from tests.memory import Recorder, Transport, World
from tests.tls.authority import issue
from tests.tls.ends import Client, Raw

PROXY = IPv4Address("TCP", "192.0.2.7", 50000)
STRANGER = IPv4Address("TCP", "198.51.100.9", 50000)
CLIENT = IPv4Address("TCP", "203.0.113.5", 1234)
TARGET = IPv4Address("TCP", "203.0.113.80", 443)

NAMED = pytest.mark.parametrize(
    "header", [proxy.render(CLIENT, TARGET, 1), proxy.render(CLIENT, TARGET, 2)], ids=["v1", "v2"]
)
UNNAMED = pytest.mark.parametrize(
    "header", [proxy.render(None, None, 1), proxy.render(None, None, 2)], ids=["UNKNOWN", "LOCAL"]
)
MODES = pytest.mark.parametrize("mode", ["require", "allow"])


class Peers(Recorder):
    """Writes down who its peer is."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.happened.append(self.transport.getPeer())


@pytest.fixture
def world() -> World:
    return World(Terms(3, max_per_source=2))


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials(Settings(*issue("localhost").write(tmp_path_factory.mktemp("tls"))))


@MODES
@NAMED
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_plugin_meets_the_true_client_however_the_header_was_cut(
    world: World, mode: str, header: bytes, size: int
) -> None:
    protocol = Peers()
    transport = world.enter(world.factory(lambda _: protocol, mode=mode), PROXY)
    data = header + b"hello"
    for start in range(0, len(data), size):
        transport.protocol.dataReceived(data[start : start + size])
    assert protocol.happened[0] == CLIENT
    assert b"".join(protocol.happened[1:]) == b"hello"
    transport.lose(ConnectionDone())
    assert world.is_empty()


@MODES
@UNNAMED
def test_a_proxy_that_speaks_for_itself_is_served_and_counts_for_no_source(
    world: World, mode: str, header: bytes
) -> None:
    protocols = [Peers() for _ in range(3)]
    coming = iter(protocols)
    door = world.factory(lambda _: next(coming), mode=mode)
    transports = [world.enter(door, PROXY) for _ in protocols]
    for transport in transports:
        transport.protocol.dataReceived(header)
    assert [protocol.happened for protocol in protocols] == [[PROXY]] * 3
    for transport in transports:
        transport.lose(ConnectionDone())
    assert world.is_empty()


def test_a_header_from_somebody_who_is_not_trusted_is_refused_or_is_just_data(world: World) -> None:
    assert world.enter(world.factory(lambda _: Peers(), mode="require"), STRANGER).lost
    assert world.refused("proxy not trusted") == 1
    protocol = Peers()
    transport = world.enter(world.factory(lambda _: protocol, mode="allow"), STRANGER)
    transport.protocol.dataReceived(proxy.render(CLIENT, TARGET, 1))
    assert protocol.happened == [STRANGER, proxy.render(CLIENT, TARGET, 1)]
    transport.lose(ConnectionDone())
    assert world.is_empty()


def test_allow_takes_the_first_bytes_that_are_no_header_for_the_peers_own(world: World) -> None:
    protocol = Peers()
    transport = world.enter(world.factory(lambda _: protocol, mode="allow"), PROXY)
    for byte in b"PRIVMSG":
        transport.protocol.dataReceived(bytes([byte]))
    assert protocol.happened[0] == PROXY
    assert b"".join(protocol.happened[1:]) == b"PRIVMSG"
    transport.lose(ConnectionDone())
    assert world.is_empty()


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"P"])
def test_allow_serves_a_peer_that_waits_for_us_after_the_timeout(world: World, begun: bytes) -> None:
    """Whoever presses Enter on a terminal has sent what a header of version 2 begins with."""
    protocol = Peers()
    transport = world.enter(world.factory(lambda _: protocol, mode="allow"), PROXY)
    transport.protocol.dataReceived(begun)
    world.run(4.9)
    assert protocol.happened == []
    world.run(0.3)
    assert protocol.happened == [PROXY] + [begun] * bool(begun)
    transport.lose(ConnectionDone())
    assert world.is_empty()


@pytest.mark.parametrize(
    ("mode", "sent"), [("require", b""), ("require", b"PROXY TCP4 1"), ("allow", b"PROXY TCP4 1")]
)
def test_a_header_that_takes_too_long_ends_the_stream(world: World, mode: str, sent: bytes) -> None:
    """Dribbling does not renew the deadline."""
    transport = world.enter(world.factory(lambda _: Peers(), mode=mode), PROXY)
    for byte in sent:
        world.run(0.2)
        transport.protocol.dataReceived(bytes([byte]))
    world.run(5.2 - 0.2 * len(sent))
    assert transport.lost
    assert world.refused("proxy header timeout") == 1
    assert world.is_empty()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "proxy header missing"),
        (b"PROXY TCP5 ", "proxy header malformed"),
        (b"PROXY UNKNOWN " + b"x" * 100, "proxy header too long"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "proxy header too long"),
    ],
)
def test_what_is_no_header_ends_the_stream_with_its_reason(world: World, sent: bytes, reason: str) -> None:
    transport = world.enter(world.factory(lambda _: Peers(), mode="require"), PROXY)
    transport.protocol.dataReceived(sent)
    assert transport.lost
    assert world.refused(reason) == 1
    assert world.is_empty()


@pytest.mark.parametrize("sent", [b"", b"PROXY "])
def test_a_peer_that_leaves_on_its_way_in_gives_back_its_place(world: World, sent: bytes) -> None:
    transport = world.enter(world.factory(lambda _: Peers(), mode="require"), PROXY)
    assert world.admission.open == len(world.connections) == 1
    transport.protocol.dataReceived(sent)
    transport.lose(ConnectionLost())
    assert world.refused("peer closed") == 1
    assert world.is_empty()


def test_limits_are_those_of_the_true_client_not_of_the_proxy(world: World) -> None:
    protocols = [Peers() for _ in range(4)]
    door = world.factory(lambda _: protocols[-1], mode="require")

    def relay(source: IPv4Address | IPv6Address) -> Transport:
        transport = world.enter(door, PROXY)
        transport.protocol.dataReceived(proxy.render(source, source, 2))
        return transport

    transports = [relay(CLIENT), relay(CLIENT)]
    third = relay(CLIENT)
    assert third.disconnecting
    assert world.refused("max_per_source") == 1
    assert world.admission.open == 2
    third.take()
    other = relay(IPv6Address("TCP", "2001:db8::1", 9))
    assert not other.disconnecting
    for transport in [*transports, other]:
        transport.lose(ConnectionDone())
    assert world.is_empty()


def test_a_denied_client_behind_an_allowed_proxy_is_refused() -> None:
    world = World(Terms(3, AccessList(deny=Networks.of([ip_network("203.0.113.0/24")]))))
    transport = world.enter(world.factory(lambda _: Peers(), mode="require"), PROXY)
    transport.protocol.dataReceived(proxy.render(CLIENT, TARGET, 1))
    assert transport.disconnecting
    transport.take()
    assert world.refused("denied") == 1
    assert world.is_empty()


@pytest.mark.parametrize("over_limit", ["refuse", "reset", "banner", "tarpit"])
def test_a_client_over_its_limit_behind_a_proxy_meets_what_the_limit_says(over_limit: str) -> None:
    world = World(Terms(9, max_per_source=1), over_limit=over_limit, over_limit_banner="full")
    door = world.factory(lambda _: Peers(), mode="require")
    transports = [world.enter(door, PROXY) for _ in range(2)]
    for transport in transports:
        transport.protocol.dataReceived(proxy.render(CLIENT, TARGET, 1) + b"hello")
    first, second = transports
    assert world.admission.open == 1
    second.take()
    world.run(10.2)
    assert second.lost or second.disconnecting
    second.take()
    assert second.taken == (b"full\r\n" if over_limit == "banner" else b"")
    first.lose(ConnectionDone())
    assert world.is_empty()


def test_what_comes_with_the_header_waits_for_a_plugin_that_has_paused(world: World) -> None:
    """As one does that has to connect to somebody else first."""

    class Paused(Recorder):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.pauseProducing()  # type: ignore[attr-defined]  # ITransport is not IPushProducer

    protocol = Paused()
    transport = world.enter(world.factory(lambda _: protocol, mode="require"), PROXY)
    transport.protocol.dataReceived(proxy.render(CLIENT, TARGET, 1) + b"hello")
    world.run(1)
    assert protocol.happened == []
    transport.protocol.resumeProducing()
    world.run(0.1)
    assert protocol.happened == [b"hello"]
    assert transport.reading


def test_a_plugin_that_closes_at_once_gets_nothing_that_came_with_the_header(world: World) -> None:
    class Closing(Recorder):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.loseConnection()

    protocol = Closing()
    transport = world.enter(world.factory(lambda _: protocol, mode="require"), PROXY)
    transport.protocol.dataReceived(proxy.render(CLIENT, TARGET, 1) + b"hello")
    transport.take()
    assert protocol.happened == [ConnectionDone]
    assert world.is_empty()


def test_a_peer_that_the_plugin_does_not_want_gives_back_its_place_and_ends_the_drain(world: World) -> None:
    transport = world.enter(world.factory(lambda _: None, mode="require"), PROXY)
    world.connections.drain(5.0, 0)
    assert world.emptied == 0
    transport.protocol.dataReceived(proxy.render(CLIENT, TARGET, 1))
    assert transport.lost
    assert world.emptied == 1
    assert world.is_empty()


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
    """A TLS client at the door, with the wire between them."""

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
        """Until nobody has anything more to say."""
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
    """A silent peer, and one that stops in the middle."""
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
    """It takes tens of kilobytes."""
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


def test_a_silent_proxy_makes_room_too() -> None:
    world = World(Terms(2))
    door = world.factory(lambda _: Peers(), mode="require")
    silent, second = (world.enter(door, PROXY) for _ in range(2))
    speaking = world.enter(door, PROXY)
    speaking.protocol.dataReceived(proxy.render(CLIENT, TARGET, 1))
    assert (silent.lost, second.lost) == (True, False)
    assert world.events.counts["opened", ""] == 1
