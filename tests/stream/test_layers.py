"""Layers between an accepted stream and its protocol, by one that sockd does not have."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from sockd.serving.listener import layers_of
from sockd.stream.connection import Connection
from sockd.stream.factory import ConnectionFactory
from sockd.stream.layers import Arrival, Layer
from sockd.stream.place import Place
from tests.memory import Recorder, Transport, World


class Knock:
    """Layer that lets in who knocks with one word."""

    encrypts = False

    def __init__(self, word: bytes) -> None:
        self.word = word

    def enter(self, arrival: Arrival) -> IProtocol | None:
        return Knocking(self.word, arrival)


class Knocking(Protocol):
    is_shaking = False
    transport: Any

    def __init__(self, word: bytes, arrival: Arrival) -> None:
        self.word, self.arrival, self.held, self.left = word, arrival, b"", [""][:0]

    def connectionMade(self) -> None:
        self.arrival.begin(self, self.transport)
        self.arrival.wait(5.0)

    def dataReceived(self, data: bytes) -> None:
        self.held += data
        self.arrival.heard()
        if self.held.startswith(self.word):
            self.arrival.pass_on(self.transport, self.held[len(self.word) :])
        elif not self.word.startswith(self.held):
            self.arrival.refuse("wrong word")

    def deadline_passed(self) -> None:
        self.arrival.refuse("no word")

    def leave(self, failure: str) -> None:
        self.left.append(failure)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.arrival.fail("peer closed")


@pytest.fixture
def world() -> World:
    return World()


def come(world: World, protocol: Any, *layers: Layer) -> Transport:
    factory: Any = Factory()
    factory.buildProtocol = lambda _: protocol
    return world.enter(ConnectionFactory(factory, world.connections, layers, over_tcp=True))


def test_a_stream_passes_its_layers_in_order_with_what_each_has_read_too_much(world: World) -> None:
    protocol = Recorder()
    transport = come(world, protocol, Place(), Knock(b"one"), Knock(b"two"))
    transport.protocol.dataReceived(b"onet")
    assert protocol.happened == []
    assert world.admission.open == len(world.connections) == 1
    transport.protocol.dataReceived(b"wothree")
    assert protocol.happened == ["made", b"three"]
    assert isinstance(transport.protocol, Connection)
    transport.lose(ConnectionDone())
    assert world.is_empty()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda world, transport: transport.protocol.dataReceived(b"three"), "wrong word"),
        (lambda world, transport: world.run(6), "no word"),
        (lambda world, transport: transport.lose(ConnectionDone()), "peer closed"),
        (lambda world, transport: world.connections.cut("drain timeout"), "drain timeout"),
        (lambda world, transport: world.connections.make_room(), "silent"),
    ],
    ids=["refused", "deadline", "gone", "cut", "room"],
)
def test_a_stream_that_fails_in_a_layer_gives_back_its_place_once(
    world: World, end: Any, reason: str
) -> None:
    transport = come(world, Recorder(), Place(), Knock(b"one"))
    step = transport.protocol
    end(world, transport)
    assert transport.lost
    assert world.refused(reason) == 1
    assert step.left == [reason]
    assert world.is_empty()
    step.connectionLost()
    world.run(6)
    assert world.is_empty()
    assert sum(count for (event, _), count in world.events.counts.items() if "refused" in event) == 1


def test_a_layer_before_the_place_may_close_a_stream_that_takes_none(world: World) -> None:
    class Shut:
        encrypts = False

        def enter(self, arrival: Arrival) -> IProtocol | None:  # as Layer has it
            return None

    assert come(world, Recorder(), Shut(), Place()).lost
    assert world.is_empty()


def test_a_stream_on_its_way_in_is_freed_without_a_collector(world: World) -> None:
    transport = come(world, Recorder(), Place(), Knock(b"one"))
    gc.collect()
    gc.disable()
    try:
        arrival = id(transport.protocol.arrival)
        transport.protocol.dataReceived(b"one")
        assert arrival not in [id(each) for each in gc.get_objects() if type(each) is Arrival]
    finally:
        gc.enable()


def test_a_listener_without_proxies_and_tls_has_no_layers(world: World) -> None:
    assert layers_of(None, None) == ()
    assert isinstance(world.enter(world.factory(lambda _: Recorder())).protocol, Connection)
