from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import defer, reactor
from twisted.internet.protocol import Factory

from sockd.config import Listener, SocketOptions
from sockd.endpoint import parse
from sockd.plugin import Replies
from sockd.serving.listener import DatagramListener, StreamListener
from sockd.sockets.open import open_socket
from tests.memory import PEER, Recorder, Transport, World


class Port:
    """What the reactor accepts by; reading it after its end is an error, as with Twisted's."""

    def __init__(self) -> None:
        self.reading = True
        self.closed = False

    def startReading(self) -> None:
        assert not self.closed
        self.reading = True

    def stopReading(self) -> None:
        assert not self.closed
        self.reading = False

    def doRead(self) -> None:
        assert not self.closed

    def stopListening(self) -> None:
        self.closed = True


@pytest.fixture
def listener() -> StreamListener:
    text = "tcp:0:interface=127.0.0.1"
    bound = open_socket(parse(text), SocketOptions())
    made = StreamListener(
        bound,
        Listener.model_validate(text),
        "default",
        Factory.forProtocol(Recorder),
        World().connections,
        None,
        int,
    )
    made.port = Port()
    return made


def close(listener: StreamListener) -> None:
    done: list[Any] = []
    defer.Deferred.fromCoroutine(listener.close()).addBoth(done.append)
    assert done == [None]


def test_accepting_pauses_while_there_is_any_reason(listener: StreamListener) -> None:
    port = listener.port
    listener.hold("full", held=True)
    listener.hold("descriptors", held=True)
    listener.hold("full", held=False)
    assert not port.reading
    listener.hold("descriptors", held=False)
    assert port.reading
    listener.hold("full", held=False)
    assert port.reading
    close(listener)


@pytest.mark.parametrize("why", ["full", "descriptors"])
def test_a_listener_that_is_closed_is_not_opened_again_when_a_reason_passes(
    listener: StreamListener, why: str
) -> None:
    """A place may become free, or a descriptor, while the last connections end."""
    listener.hold(why, held=True)
    close(listener)
    listener.hold(why, held=False)


def test_a_closed_listener_has_closed_its_socket(listener: StreamListener) -> None:
    close(listener)
    assert listener.bound.socket.fileno() == -1


@pytest.mark.parametrize(("over_tcp", "metered"), [(True, False), (False, True)])
def test_bytes_are_looked_at_only_where_the_kernel_does_not_count_them(over_tcp: bool, metered: bool) -> None:
    world = World()
    protocol = Recorder()
    transport = world.enter(world.factory(lambda _: protocol, over_tcp=over_tcp))
    connection = transport.protocol
    assert (connection.dataReceived == connection.deliver) is not metered
    assert (connection.write == transport.write) is not metered


def followed(listener: StreamListener) -> list[str]:
    happened: list[str] = []
    factory: Any = listener.factory
    factory.startFactory = lambda: happened.append("start")
    factory.stopFactory = lambda: happened.append("stop")
    return happened


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_the_plugins_factory_hears_of_begin_and_end_once(listener: StreamListener) -> None:
    happened = followed(listener)
    listener.begin()
    listener.port = None
    listener.open(reactor)
    assert happened == ["start"]
    await listener.close()
    assert happened == ["start", "stop"]


def test_the_factory_of_a_listener_that_does_not_get_to_open_is_stopped(listener: StreamListener) -> None:
    happened = followed(listener)
    listener.begin()
    listener.port = None
    close(listener)
    listener.abandon()
    assert happened == ["start", "stop"]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_a_factory_that_raises_at_its_end_keeps_no_listener_from_closing(
    listener: StreamListener,
) -> None:
    factory: Any = listener.factory
    factory.stopFactory = lambda: 1 / 0
    listener.port = None
    listener.open(reactor)
    await listener.close()
    assert listener.bound.socket.fileno() == -1
    assert [name for name, _ in listener.connections.events.counts] == ["plugin fault"]


def test_every_place_is_given_back_once_whatever_way_a_stream_ends() -> None:
    world = World(max_connections=1)
    ends: list[Any] = [
        lambda transport: transport.protocol.loseConnection(),
        lambda transport: transport.protocol.abortConnection(),
        lambda transport: transport.protocol.readConnectionLost(),
        lambda transport: transport.protocol.cut("test"),
        lambda transport: world.run(70),
    ]
    for end in ends:
        transport: Transport = world.enter(world.factory(lambda _: Recorder()), PEER)
        assert world.admission.open == 1
        end(transport)
        transport.take()
        assert transport.lost
        assert world.is_empty()


@pytest.fixture
def datagrams() -> DatagramListener:
    text = "udp:0:interface=127.0.0.1"
    bound = open_socket(parse(text), SocketOptions())
    port: Any = Port()
    port.startListening = lambda: None
    port.stop_reading, port.start_reading = port.stopReading, port.startReading
    replies = Replies()
    made = DatagramListener(
        bound, Listener.model_validate(text), "default", replies, replies, lambda _, replies: port
    )
    made.open(None)
    return made


def test_datagrams_wait_in_the_kernel_while_their_service_is_paused(datagrams: DatagramListener) -> None:
    port: Any = datagrams.port
    datagrams.hold("paused", held=True)
    assert not port.reading
    datagrams.hold("paused", held=False)
    assert port.reading
    datagrams.bound.close()


@pytest.mark.parametrize("why", ["descriptors", "full"])
def test_datagrams_do_not_wait_for_places_that_they_do_not_take(
    datagrams: DatagramListener, why: str
) -> None:
    port: Any = datagrams.port
    datagrams.hold(why, held=True)
    assert port.reading
    datagrams.bound.close()


def test_a_datagram_listener_that_is_not_open_can_be_held(datagrams: DatagramListener) -> None:
    datagrams.port = None
    datagrams.hold("paused", held=True)
    datagrams.bound.close()
