"""PROXY header in front of a stream, and whom limits then count."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone, ConnectionLost

from sockd.config.network_sets import Networks
from sockd.limits import AccessList, Terms
from sockd.stream import proxy
from tests.memory import Recorder, Transport, World

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
    """Protocol that writes down who its peer is."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.happened.append(self.transport.getPeer())


@pytest.fixture
def world() -> World:
    return World(Terms(3, max_per_source=2))


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
    """Enter on a terminal sends what a header of version 2 begins with."""
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
    """Such a plugin has to connect to another server first."""

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


def test_a_silent_proxy_makes_room_too() -> None:
    world = World(Terms(2))
    door = world.factory(lambda _: Peers(), mode="require")
    silent, second = (world.enter(door, PROXY) for _ in range(2))
    speaking = world.enter(door, PROXY)
    speaking.protocol.dataReceived(proxy.render(CLIENT, TARGET, 1))
    assert (silent.lost, second.lost) == (True, False)
    assert world.events.counts["opened", ""] == 1
