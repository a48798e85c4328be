from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone

from sockd.config import Limits
from sockd.stream.connection import Connection
from tests.memory import KERNEL, PEER, Recorder, Transport, World


class Greeter(Recorder):
    """Speaks first, and answers a whole line."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"welcome\n")

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        assert self.transport is not None
        if data.endswith(b"\n"):
            self.transport.write(b"so you say\n")


class Producer:
    """Producer that writes when it is resumed, `chunk` at a time, until it has written `most`."""

    def __init__(self, connection: Connection, chunk: int = 500, most: int = 10**6) -> None:
        self.paused = False
        self.stopped = False
        self.left = most
        self._connection = connection
        self._chunk = chunk

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        if self.left <= 0:
            self._connection.unregisterProducer()
            return
        self.left -= self._chunk
        self._connection.write(b"x" * self._chunk)

    def stopProducing(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("over_tcp", [True, False])
def test_a_first_message_that_does_not_come_whole_ends_the_connection_however_it_dribbles(
    over_tcp: bool,
) -> None:
    """Bytes come every few seconds; and our own greeting is no answer."""
    world = World(first_message_timeout="10s")
    transport = world.enter(world.factory(lambda _: Greeter(), over_tcp=over_tcp))
    transport.take()
    for _ in range(9):
        transport.protocol.dataReceived(b"x")
        world.run(1)
    assert not transport.disconnecting
    world.run(1.2)
    transport.take()
    assert transport.lost
    assert world.closed("first message") == 1
    assert world.is_empty()


@pytest.mark.parametrize("over_tcp", [True, False])
def test_an_answer_ends_the_wait_for_the_first_message(over_tcp: bool) -> None:
    world = World(first_message_timeout="10s", idle_timeout="off")
    transport = world.enter(world.factory(lambda _: Greeter(), over_tcp=over_tcp))
    transport.protocol.dataReceived(b"hello\n")
    transport.take()
    world.run(30)
    assert not transport.disconnecting
    transport.protocol.dataReceived(b"again\n")
    transport.take()
    assert transport.taken == b"welcome\n" + b"so you say\n" * 2


@pytest.mark.parametrize("over_tcp", [True, False])
def test_a_protocol_that_reads_on_for_long_says_that_it_has_understood(over_tcp: bool) -> None:
    world = World(first_message_timeout="10s", idle_timeout="off")
    protocol = Recorder()
    transport = world.enter(world.factory(lambda _: protocol, over_tcp=over_tcp))
    transport.protocol.dataReceived(b"a long upload begins")
    shell: Any = protocol.transport
    shell.first_message_received()
    world.run(30)
    assert not transport.disconnecting
    transport.protocol.dataReceived(b"more")
    assert protocol.happened == ["made", b"a long upload begins", b"more"]


def test_bytes_are_counted_where_the_kernel_counts_none() -> None:
    world = World()
    connection, transport = world.connect(Recorder())
    transport.protocol.dataReceived(b"12345")
    connection.write(b"123")
    connection.writeSequence([b"4", b"5", b"6"])
    transport.take()
    transport.lose(ConnectionDone())
    assert (world.events.received, world.events.sent) == (5, 6)


def test_lifetime_ends_a_connection_whatever_it_does() -> None:
    world = World(lifetime="30s")
    connection, transport = world.connect(Recorder())
    for _ in range(29):
        world.run(1)
        transport.protocol.dataReceived(b"x")
        connection.write(b"y")
        transport.take()
    assert not transport.disconnecting
    world.run(1.2)
    transport.take()
    assert transport.lost
    assert world.closed("lifetime") == 1


@pytest.mark.parametrize("over_tcp", [True, False])
def test_a_peer_that_sends_faster_than_it_may_is_read_at_its_rate(over_tcp: bool) -> None:
    world = World(bytes_per_second=1000)
    protocol = Recorder()
    transport = world.enter(world.factory(lambda _: protocol, over_tcp=over_tcp))
    received = []
    for _ in range(400):
        if transport.reading:
            transport.protocol.dataReceived(b"x" * 500)
        world.run(0.1)
        received.append(sum(map(len, protocol.happened[1:])))
    assert received[-1] == pytest.approx(40_000, rel=0.1)
    assert max(b - a for a, b in zip(received, received[10:], strict=False)) <= 2500
    transport.lose(ConnectionDone())
    assert world.is_empty()


@pytest.mark.parametrize("streaming", [True, False])
def test_a_producer_writes_at_its_rate_and_is_never_stuck(streaming: bool) -> None:
    world = World(bytes_per_second=1000)
    connection, transport = world.connect(Recorder())
    producer = Producer(connection, most=40_000)
    connection.registerProducer(producer, streaming)
    for _ in range(300):
        if streaming and not producer.paused and producer.left > 0:
            producer.resumeProducing()
        transport.take()
        world.run(0.1)
    assert len(transport.taken) == pytest.approx(30_000, rel=0.1)
    for _ in range(150):
        if streaming and not producer.paused and producer.left > 0:
            producer.resumeProducing()
        transport.take()
        world.run(0.1)
    assert len(transport.taken) == 40_000


def test_both_directions_count_together() -> None:
    world = World(bytes_per_second=1000)
    connection, transport = world.connect(Recorder())
    transport.protocol.dataReceived(b"x" * 500)
    assert transport.reading
    connection.write(b"y" * 600)
    assert not transport.reading
    world.run(0.5)
    assert transport.reading


def test_a_connection_that_is_held_for_longer_than_the_idle_timeout_is_not_idle() -> None:
    """Reading is stopped by our side."""
    world = World(bytes_per_second=1000, idle_timeout="10s")
    _, transport = world.connect(Recorder())
    transport.protocol.dataReceived(b"x" * 30_000)
    world.run(29.2)
    assert transport.reading
    assert not transport.disconnecting
    world.run(10.2)
    assert transport.disconnecting
    assert world.connections.admission.open == 1


def test_a_producer_that_is_held_while_closing_may_write_its_last() -> None:
    world = World(bytes_per_second=1000)
    connection, transport = world.connect(Recorder())
    producer = Producer(connection, most=0)
    connection.registerProducer(producer, True)
    connection.write(b"x" * 20_000)
    connection.loseConnection()
    transport.taken, transport.dataBuffer = transport.dataBuffer, b""
    world.run(15)
    assert producer.paused
    assert not transport.lost
    world.run(5)
    assert not producer.paused
    transport.take()
    assert transport.lost
    assert world.closed("closed") == 1


def test_what_was_held_and_unread_at_once_goes_on_when_both_are_over() -> None:
    world = World(bytes_per_second=100_000)
    connection, transport = world.connect(Recorder())
    producer = Producer(connection)
    connection.registerProducer(producer, True)
    connection.write(b"x" * (2 * KERNEL))
    assert producer.paused
    world.run(1)
    assert not transport.reading
    assert producer.paused
    transport.take()
    assert transport.reading
    assert not producer.paused


def test_a_plugin_that_has_paused_is_not_read_when_its_rate_has_room_again() -> None:
    world = World(bytes_per_second=1000)
    connection, transport = world.connect(Recorder())
    flood(transport)
    connection.pauseProducing()
    world.run(4)
    assert not transport.reading
    connection.resumeProducing()
    assert transport.reading


@pytest.mark.parametrize("callback", ["pauseProducing", "resumeProducing"])
def test_a_producer_that_raises_when_it_is_held_or_let_go_ends_its_connection_alone(
    callback: str,
) -> None:
    """Were it to raise out of the timer, every deadline of the daemon would be gone."""
    world = World(bytes_per_second=1000)
    connection, transport = world.connect(Recorder())
    _, neighbour = world.connect(Recorder())
    producer: Any = Producer(connection)
    setattr(producer, callback, lambda: 1 / 0)
    connection.registerProducer(producer, True)
    transport.protocol.dataReceived(b"x" * 3000)
    world.run(3)
    assert transport.lost
    assert world.faults == 1
    world.run(60)
    assert neighbour.disconnecting


def test_a_held_connection_that_ends_leaves_nothing_behind() -> None:
    world = World(bytes_per_second=1000)
    _, transport = world.connect(Recorder())
    transport.protocol.dataReceived(b"x" * 3000)
    transport.lose(ConnectionDone())
    world.run(61)
    assert world.is_empty()
    assert world.clock.getDelayedCalls() == []


@pytest.mark.parametrize("over_tcp", [True, False])
def test_a_rate_that_is_changed_holds_for_connections_that_are_open(over_tcp: bool) -> None:
    world = World()
    transport = world.enter(world.factory(lambda _: Recorder(), over_tcp=over_tcp))
    change(world, bytes_per_second=1000)
    flood(transport)
    assert not transport.reading
    world.run(2)
    assert not transport.reading
    change(world, bytes_per_second="off")
    assert transport.reading
    for _ in range(20):
        flood(transport)
        assert transport.reading
    transport.lose(ConnectionDone())
    assert world.is_empty()
    world.run(61)
    assert not world.clock.getDelayedCalls()


def test_a_rate_that_is_raised_lets_go_who_was_held_and_holds_anew() -> None:
    world = World(bytes_per_second=1000)
    _, transport = world.connect(Recorder())
    flood(transport)
    assert not transport.reading
    change(world, bytes_per_second=2000)
    assert transport.reading
    flood(transport)
    assert not transport.reading
    world.run(1.3)
    assert transport.reading


def test_another_limit_that_changes_forgives_nobody() -> None:
    world = World(bytes_per_second=1000)
    _, transport = world.connect(Recorder())
    flood(transport)
    change(world, bytes_per_second=1000, max_connections=7)
    assert not transport.reading


class Fast(Transport):
    """Transport like that of sockd's reactor: told when the way of the data changes."""

    receive: Any = None

    def receive_directly(self, receive: Any) -> None:
        self.receive = receive


def test_nothing_stands_between_once_the_first_message_was_answered() -> None:
    """Messages after the first cost nothing more."""
    world = World(first_message_timeout="10s")
    transport = Fast()
    transport.protocol = world.factory(lambda _: Greeter(), over_tcp=True).buildProtocol(PEER)
    transport.protocol.makeConnection(transport)
    connection = transport.protocol
    assert transport.receive != connection.deliver
    transport.receive(b"hello\n")
    assert transport.receive == connection.deliver
    assert connection.write == transport.write


def test_nothing_stands_between_after_a_first_answer_that_was_not_taken_at_once() -> None:
    world = World(first_message_timeout="10s", max_unread_output="1MiB")
    transport = Fast()
    protocol: Any = Recorder()
    transport.protocol = world.factory(lambda _: protocol, over_tcp=True).buildProtocol(PEER)
    transport.protocol.makeConnection(transport)
    connection = transport.protocol
    protocol.dataReceived = lambda _: connection.write(b"x" * (2 * KERNEL))
    transport.receive(b"hello")
    connection.write(b"more")
    assert connection.write == connection._output.write_bounded
    transport.take()
    assert transport.receive == connection.deliver
    assert connection.write == transport.write


def change(world: World, **limits: Any) -> None:
    """Change limits, as an operator does."""
    values = {"max_connections": 3, "idle_timeout": "60s", "close_timeout": "5s"} | limits
    world.connections.change(Limits.model_validate(values))


def flood(transport: Transport) -> None:
    """4,000 bytes in eight reads."""
    for _ in range(8):
        transport.protocol.dataReceived(b"x" * 500)
