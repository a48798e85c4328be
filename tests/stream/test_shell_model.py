"""Service beside a plain model: whatever peers, plugin and operator do, every place comes back."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sockd.broker.memory import MemoryBroker
from sockd.config import Limits, ProxyProtocol, ServiceConfig
from sockd.datagram import Loops
from sockd.limits.sources import source_key
from sockd.plugin import Plugin
from sockd.serving.listener import layers_of
from sockd.serving.plugin_start import Starts
from sockd.serving.service import Service, Shared
from sockd.sockets.deadlines import Deadlines
from sockd.stream.connection import Connection
from sockd.stream.factory import ConnectionFactory
from sockd.stream.unread import Unread
from sockd.stream.waiting import Waiting
from sockd.tls.credentials import Credentials, Settings
from tests.memory import Transport
from tests.tls.authority import issue
from tests.tls.ends import Client

PROXY = UNIXAddress(None)
"""It needs no networks to be trusted, and the kernel tells nothing of its streams."""

ADDRESSES: list[IAddress] = [
    IPv4Address("TCP", "198.51.100.1", 40112),
    IPv4Address("TCP", "198.51.100.2", 40112),
    IPv6Address("TCP", "2001:db8::1", 40112),
    IPv6Address("TCP", "2001:db8::2", 40112),
    UNIXAddress(None),
]
LONGEST = 120.0
"""Seconds. Longer than any deadline, rate or penalty below."""

BEHAVIOURS = [
    "echo",
    "silent",
    "closes",
    "much",
    "connectionMade",
    "dataReceived",
    "connectionLost",
    "buildProtocol",
]
"""What a plugin's protocol does: serve, or raise where it says."""

tables = st.fixed_dictionaries(
    {
        "max_connections": st.integers(1, 6),
        "max_per_source": st.sampled_from(["off", 1, 2]),
        "connection_rate": st.sampled_from(["off", "2/s", "5/m"]),
        "connection_rate_per_source": st.sampled_from(["off", "1/s", "3/m"]),
        "penalty": st.sampled_from(["off", "10s"]),
        "over_limit": st.sampled_from(["refuse", "queue", "queue", "reset", "banner", "tarpit"]),
        "first_message_timeout": st.sampled_from(["off", "3s"]),
        "idle_timeout": st.sampled_from(["5s", "20s"]),
        "lifetime": st.sampled_from(["off", "30s"]),
        "bytes_per_second": st.sampled_from(["off", "64KiB"]),
        "handshake_rate": st.sampled_from(["off", "1/s"]),
        "max_handshakes": st.integers(1, 3),
        "max_unread_output": st.sampled_from(["64KiB", "1MiB"]),
    }
)


@cache
def credentials() -> Credentials:
    with TemporaryDirectory() as folder:
        return Credentials(Settings(*issue("localhost").write(Path(folder))))


class Model(RuleBasedStateMachine):
    """Peers come, send, read, close and vanish while limits change and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.held: set[str] = set()
        self.peers: list[Transport] = []
        self.living: list[IAddress] = []
        self.broken: list[str] = []
        self.raised: list[Living] = []
        self.behaviour = "echo"
        first = Limits.model_validate(
            {"max_connections": 3, "max_per_source": 2, "over_limit": "queue"} | SHORT
        )
        self.service = Service(
            ServiceConfig(name="model", plugin="model", listen=(), limits=first, options=Plugin()),
            Path("state"),
            Shared(
                Deadlines(self.clock),
                Unread(2**20),
                int,
                Loops(self.clock.seconds),
                Starts(self.clock),
                MemoryBroker("me"),
            ),
            self.clock,
            each_connection=False,
        )
        self.service.listeners = [cast("Any", self)]  # for what it is told of `hold`
        factory: Any = Factory()
        factory.buildProtocol = self.build
        self.door = ConnectionFactory(factory, self.service.connections)
        self.proxied = ConnectionFactory(factory, self.service.connections, layers_of(ProxyProtocol(), None))
        self.secret = ConnectionFactory(factory, self.service.connections, layers_of(None, credentials()))

    def hold(self, why: str, *, held: bool) -> None:
        (self.held.add if held else self.held.discard)(why)

    # What a plugin sees.

    def build(self, address: IAddress) -> Protocol:
        if self.behaviour == "buildProtocol":
            raise ValueError
        return Living(self, address, self.behaviour)

    def began(self, address: IAddress) -> None:
        """Note a protocol of the plugin; at this moment no limit may be exceeded."""
        self.living.append(address)
        limits = self.limits
        if len(self.living) > limits.max_connections:
            self.broken.append(f"{len(self.living)} open, where {limits.max_connections} may be")
        key = self.source(address)
        most = limits.max_per_source
        if most is not None and key is not None and self.sources()[key] > most:
            self.broken.append(f"{self.sources()[key]} of one source, where {most} may be")

    @property
    def limits(self) -> Limits:
        return self.service.config.limits

    def source(self, address: IAddress) -> bytes | None:
        host = getattr(address, "host", None)
        return source_key(host) if host is not None else None

    def sources(self) -> Counter[bytes | None]:
        return Counter(map(self.source, self.living))

    # What peers do.

    def come(self, door: ConnectionFactory, address: IAddress) -> Transport:
        transport = Transport()
        transport.protocol = door.buildProtocol(address)
        if transport.protocol is None:
            transport.lost = True
        else:
            self.peers.append(transport)
            transport.protocol.makeConnection(transport)
        return transport

    def turn(self) -> None:
        """Make a turn of the reactor: what is sent and closing is closed, what is over is forgotten."""
        for transport in self.peers:
            if transport.disconnecting and not transport.dataBuffer and not transport.lost:
                transport.lose(ConnectionDone())
        self.clock.advance(0)
        self.peers = [transport for transport in self.peers if not transport.lost]

    def waiting(self) -> list[Transport]:
        return [peer for peer in self.peers if isinstance(peer.protocol, Waiting) and not peer.lost]

    @precondition(lambda self: not self.held)
    @rule(
        peers=st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=4),
        behaviour=st.sampled_from(BEHAVIOURS),
    )
    def connect(self, peers: list[IAddress], behaviour: str) -> None:
        self.behaviour = behaviour
        for address in peers:  # all in one turn of the reactor
            self.come(self.door, address)
        self.turn()

    @precondition(lambda self: not self.held)
    @rule(address=st.sampled_from(ADDRESSES[:-1]), cut=st.integers(0, 60), good=st.booleans())
    def connect_through_a_proxy(self, address: Any, cut: int, good: bool) -> None:
        self.behaviour = "echo"
        transport = self.come(self.proxied, PROXY)
        kind = "TCP6" if ":" in address.host else "TCP4"
        there = "2001:db8:1::1" if kind == "TCP6" else "192.0.2.1"
        header = f"PROXY {kind if good else 'NONE'} {address.host} {there} 40112 443\r\n".encode()
        for piece in (header[:cut], header[cut:] if cut < 60 else b""):
            if piece and transport.reading and not transport.lost:
                transport.protocol.dataReceived(piece)
        self.turn()

    @precondition(lambda self: not self.held)
    @rule(address=st.sampled_from(ADDRESSES), said=st.sampled_from(["", "half", "whole", "no tls"]))
    def connect_to_tls(self, address: IAddress, said: str) -> None:
        """Connect without coming to a session; the place must come back."""
        self.behaviour = "echo"
        transport = self.come(self.secret, address)
        hello = Client().speak()
        data = {"": b"", "half": hello[:50], "whole": hello, "no tls": b"GET / HTTP/1.1\r\n\r\n"}[said]
        if data and transport.reading and not transport.lost:
            transport.protocol.dataReceived(data)
        self.turn()

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), size=st.sampled_from([1, 100, 5000, 70_000]))
    def send(self, data: st.DataObject, size: int) -> None:
        transport = data.draw(st.sampled_from(self.peers))
        if transport.reading and not transport.disconnecting:
            transport.protocol.dataReceived(b"x" * size)
        self.turn()

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), size=st.none() | st.sampled_from([1, 10_000]))
    def read(self, data: st.DataObject, size: int | None) -> None:
        transport = data.draw(st.sampled_from(self.peers))
        transport.take(size)
        self.turn()

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), reason=st.sampled_from([ConnectionDone, ConnectionLost]))
    def vanish(self, data: st.DataObject, reason: type[Exception]) -> None:
        data.draw(st.sampled_from(self.peers)).lose(reason())
        self.turn()

    # What the operator and the clock do.

    @rule(changed=tables)
    def change(self, changed: dict[str, Any]) -> None:
        self.service.change(Limits.model_validate(SHORT | changed))
        self.turn()

    @rule(most=st.integers(1, 6))
    def change_the_places(self, most: int) -> None:
        self.service.change(self.limits.model_copy(update={"max_connections": most}))
        self.turn()

    @rule(seconds=st.sampled_from([0.05, 1.0, 6.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        steps = max(1, round(seconds))
        for _ in range(steps):
            self.clock.advance(seconds / steps)
            self.turn()

    # What must always hold.

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        assert not self.broken

    @invariant()
    def who_has_raised_is_gone(self) -> None:
        assert not self.raised

    @invariant()
    def every_place_that_is_taken_belongs_to_somebody(self) -> None:
        connections = self.service.connections
        assert len(list(connections)) == len(self.living)
        assert connections.admission.open == len(connections)

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        if self.service.connections.admission.has_room():
            assert not self.waiting()
            assert not self.held

    def teardown(self) -> None:
        """Left alone, all connections end by themselves; then everybody can come in again."""
        self.pass_time(LONGEST)
        connections = self.service.connections
        assert not self.living
        assert connections.admission.open == len(connections) == len(connections.tarpits) == 0
        assert connections.handshakes.unfinished == 0
        self.pass_time(LONGEST)
        assert not self.held
        self.behaviour = "echo"
        for address in ADDRESSES:
            assert isinstance(self.come(self.door, address).protocol, Connection)
            self.peers[-1].lose(ConnectionDone())
            self.pass_time(LONGEST)
        assert connections.admission.open == 0
        self.service.change(Limits())
        assert connections.admission.sources == 0
        self.clock.advance(LONGEST)
        assert not self.clock.getDelayedCalls()


SHORT = {
    "idle_timeout": "5s",
    "close_timeout": "1s",
    "tarpit_time": "2s",
    "header_timeout": "2s",
    "handshake_timeout": "3s",
}
"""Deadlines that the model's time passes often."""


class Living(Protocol):
    """Protocol of the plugin."""

    transport: Any

    def __init__(self, model: Model, address: IAddress, behaviour: str) -> None:
        self.model, self.address, self.behaviour = model, address, behaviour

    def connectionMade(self) -> None:
        self.model.began(self.address)
        self.trip("connectionMade")

    def dataReceived(self, data: bytes) -> None:
        self.trip("dataReceived")
        match self.behaviour:
            case "echo":
                self.transport.write(data)
            case "much":
                self.transport.write(data * 20)
            case "closes":
                self.transport.write(data)
                self.transport.loseConnection()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.model.living.remove(self.address)
        self.model.raised = [other for other in self.model.raised if other is not self]
        self.trip("connectionLost")

    def trip(self, callback: str) -> None:
        if self.behaviour == callback:
            if callback != "connectionLost":
                self.model.raised.append(self)
            raise ValueError(callback)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=30)


def test_more_places_let_in_who_waits_at_once() -> None:
    model = Model()
    for _ in range(4):
        model.come(model.door, ADDRESSES[-1])
    assert len(model.waiting()) == 1
    model.service.change(model.limits.model_copy(update={"max_connections": 5}))
    assert not model.waiting()
    assert not model.held
