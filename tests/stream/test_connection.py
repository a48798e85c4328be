from __future__ import annotations

import gc
from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sockd.stream.connection import Connection
from sockd.stream.factory import ConnectionFactory
from tests.memory import KERNEL, PEER, Recorder, Transport, World


@pytest.fixture
def world() -> World:
    return World()


def test_the_plugin_hears_of_the_whole_life_of_its_connection_in_order(world: World) -> None:
    protocol = Recorder()
    connection, transport = world.connect(protocol)
    transport.protocol.dataReceived(b"one")
    connection.write(b"two")
    transport.take()
    connection.loseConnection()
    transport.take()
    assert protocol.happened == ["made", b"one", ConnectionDone]
    assert transport.taken == b"two"


def test_the_plugin_gets_a_transport_of_twisteds_contract(world: World) -> None:
    connection = ConnectionFactory(Factory.forProtocol(Recorder), world.connections).buildProtocol(PEER)
    assert isinstance(connection, Connection)
    connection.makeConnection(Transport())
    assert verifyObject(IConsumer, connection)
    assert connection.getPeer() == PEER
    assert connection.disconnecting is False
    connection.loseConnection()
    assert connection.disconnecting is True


def test_a_connection_that_is_over_is_freed_at_once(world: World) -> None:
    """Reference counts free it: a daemon with thousands in a second has nothing to collect."""
    connection, transport = world.connect(Recorder())
    transport.protocol.dataReceived(b"one")
    gc.collect()
    gc.disable()
    try:
        transport.lose(ConnectionDone())
        transport.protocol = transport.producer = None  # as those of reactors do
        address = id(connection)
        del connection, transport
        assert address not in [id(each) for each in gc.get_objects() if type(each) is Connection]
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [ValueError, OSError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("callback", ["connectionMade", "dataReceived"])
def test_an_exception_in_a_callback_aborts_that_connection_alone(
    world: World, callback: str, error: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error("a plugin's mistake")

    neighbour = Recorder()
    _, neighbours_transport = world.connect(neighbour)
    protocol = Recorder()
    setattr(protocol, callback, fail)
    _, transport = world.connect(protocol)
    transport.protocol.dataReceived(b"x")
    assert transport.lost
    assert protocol.happened[-1] is ConnectionAborted
    assert world.faults == 1
    assert world.closed("plugin fault") == 1
    neighbours_transport.protocol.dataReceived(b"y")
    assert neighbour.happened == ["made", b"y"]


def test_an_exception_in_connection_lost_still_gives_back_the_place(world: World) -> None:
    protocol: Any = Recorder()
    protocol.connectionLost = lambda reason: 1 / 0
    _, transport = world.connect(protocol)
    transport.lose(ConnectionDone())
    assert world.connections.admission.open == 0
    assert len(world.connections) == 0
    assert world.faults == 1


def test_an_exception_in_build_protocol_refuses_that_peer_alone(world: World) -> None:
    assert world.factory(lambda _: 1 / 0).buildProtocol(PEER) is None
    assert world.faults == 1
    assert world.connections.admission.open == 0


def test_a_factory_may_refuse_a_peer(world: World) -> None:
    assert world.factory(lambda _: None).buildProtocol(PEER) is None
    assert world.events.counts["connection refused", "plugin"] == 1
    assert world.connections.admission.open == 0


def test_there_are_never_more_connections_than_max_connections(world: World) -> None:
    transports = [world.connect(Recorder())[1] for _ in range(3)]
    assert world.factory(lambda _: Recorder()).buildProtocol(PEER) is None
    assert world.events.counts["connection refused", "max_connections"] == 1
    transports[0].lose(ConnectionDone())
    world.connect(Recorder())


def test_an_idle_connection_ends(world: World) -> None:
    protocol = Recorder()
    _, transport = world.connect(protocol)
    world.run(59)
    assert not transport.disconnecting
    world.run(2)
    transport.take()
    assert protocol.happened[-1] is ConnectionDone
    assert world.closed("idle") == 1


@pytest.mark.parametrize("direction", ["read", "write"])
def test_data_in_either_direction_keeps_a_connection_alive(world: World, direction: str) -> None:
    connection, transport = world.connect(Recorder())
    for _ in range(5):
        world.run(40)
        transport.protocol.dataReceived(b"x") if direction == "read" else connection.write(b"x")
        transport.take()
    assert not transport.disconnecting
    world.run(61)
    assert transport.disconnecting


def test_idle_connections_stay_when_the_timeout_is_off() -> None:
    world = World(idle_timeout="off")
    _, transport = world.connect(Recorder())
    world.run(100)
    assert not transport.disconnecting


def test_closing_waits_for_a_peer_that_still_takes_something(world: World) -> None:
    connection, transport = world.connect(Recorder())
    connection.write(b"x" * 50_000)
    connection.loseConnection()
    for _ in range(9):
        world.run(4)
        transport.take(5_000)
    assert not transport.lost
    transport.take()
    assert len(transport.taken) == 50_000
    assert world.closed("closed") == 1


def test_closing_has_a_deadline_for_a_peer_that_takes_nothing(world: World) -> None:
    protocol = Recorder()
    connection, transport = world.connect(protocol)
    connection.write(b"x" * 50_000)
    connection.loseConnection()
    world.run(5.5)
    assert transport.lost
    assert protocol.happened[-1] is ConnectionAborted
    assert world.closed("close timeout") == 1


def test_reading_stops_while_the_peer_leaves_output_unread(world: World) -> None:
    """Example: an echo whose peer never reads holds one buffer, not a growing one."""
    connection, transport = world.connect(Recorder())
    connection.write(b"x" * (KERNEL + 1))
    assert not transport.reading
    transport.take()
    assert transport.reading
    connection.write(b"more")
    transport.take()
    assert transport.taken.endswith(b"more")


def test_a_peer_that_leaves_too_much_unread_is_aborted() -> None:
    """Output that others cause, as in a chat."""
    world = World(max_unread_output="128KiB")
    connection, transport = world.connect(Recorder())
    most = 0
    for _ in range(1000):
        connection.write(b"x" * 1024)
        most = max(most, len(transport.dataBuffer))
    assert transport.lost
    assert most <= 128 * 1024
    assert world.closed("unread output") == 1


def test_a_plugin_that_paused_reading_is_not_resumed_when_its_output_was_taken(world: World) -> None:
    connection, transport = world.connect(Recorder())
    connection.pauseProducing()
    connection.write(b"x" * (KERNEL + 1))
    transport.take()
    assert not transport.reading
    connection.resumeProducing()
    assert transport.reading


def test_resuming_does_not_read_from_a_peer_that_does_not_read(world: World) -> None:
    connection, transport = world.connect(Recorder())
    connection.write(b"x" * (KERNEL + 1))
    connection.pauseProducing()
    connection.resumeProducing()
    assert not transport.reading
    transport.take()
    assert transport.reading


class Producer:
    """Producer of a plugin that writes down what it is asked."""

    def __init__(self, connection: Connection, chunk: bytes = b"") -> None:
        self.asked: list[str] = []
        self._connection = connection
        self._chunk = chunk

    def pauseProducing(self) -> None:
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        self.asked.append("resume")
        if self._chunk:
            self._connection.write(self._chunk)

    def stopProducing(self) -> None:
        self.asked.append("stop")


def test_a_streaming_producer_of_the_plugin_is_paused_resumed_and_stopped(world: World) -> None:
    connection, transport = world.connect(Recorder())
    producer = Producer(connection)
    connection.registerProducer(producer, True)
    connection.write(b"x" * (KERNEL + 1))
    transport.take()
    transport.lose(ConnectionDone())
    assert producer.asked == ["pause", "resume", "stop"]


def test_a_pulled_producer_writes_when_asked_and_the_bound_returns_afterwards(world: World) -> None:
    connection, transport = world.connect(Recorder())
    producer = Producer(connection, b"x" * 100)
    connection.registerProducer(producer, False)
    transport.take()
    transport.take()
    assert producer.asked == ["resume"] * 3
    connection.unregisterProducer()
    connection.write(b"x" * (KERNEL + 1))
    assert not transport.reading


def test_a_second_producer_is_refused_as_twisted_does(world: World) -> None:
    connection, _ = world.connect(Recorder())
    connection.registerProducer(Producer(connection), True)
    with pytest.raises(RuntimeError):
        connection.registerProducer(Producer(connection), True)


def test_closing_waits_for_a_registered_producer(world: World) -> None:
    connection, transport = world.connect(Recorder())
    producer = Producer(connection)
    connection.registerProducer(producer, True)
    connection.loseConnection()
    connection.write(b"the last")
    transport.take()
    assert not transport.lost
    connection.unregisterProducer()
    transport.take()
    assert transport.lost
    assert transport.taken == b"the last"


def test_a_producer_that_raises_ends_its_connection(world: World) -> None:
    connection, transport = world.connect(Recorder())
    producer: Any = Producer(connection)
    producer.resumeProducing = lambda: 1 / 0
    connection.registerProducer(producer, True)
    connection.write(b"x" * (KERNEL + 1))
    transport.take()
    assert transport.lost
    assert world.faults == 1


def test_when_the_peer_ends_its_side_pending_output_is_sent_before_the_close(world: World) -> None:
    protocol = Recorder()
    connection, transport = world.connect(protocol)
    connection.write(b"the answer")
    transport.protocol.readConnectionLost()
    assert not transport.lost
    transport.take()
    assert transport.taken == b"the answer"
    assert protocol.happened == ["made", ConnectionDone]
    assert world.closed("peer closed") == 1


def test_the_end_of_a_peer_is_waited_for_only_where_something_is_left_to_do(world: World) -> None:
    """Elsewhere the transport closes at once, which saves each connection a turn of the reactor."""
    connection, transport = world.connect(Recorder())
    assert not IHalfCloseableProtocol(connection, None)
    connection.write(b"left")
    assert IHalfCloseableProtocol(connection, None)
    transport.take()
    assert not IHalfCloseableProtocol(connection, None)
    half_closeable, _ = world.connect(HalfCloseable())
    assert IHalfCloseableProtocol(half_closeable, None)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    def readConnectionLost(self) -> None:
        self.happened.append("read lost")

    def writeConnectionLost(self) -> None:
        self.happened.append("write lost")


def test_a_half_closeable_protocol_goes_on_when_the_peer_has_ended_its_side(world: World) -> None:
    protocol = HalfCloseable()
    connection, transport = world.connect(protocol)
    transport.protocol.readConnectionLost()
    connection.write(b"still here")
    transport.take()
    connection.loseWriteConnection()
    transport.take()
    assert protocol.happened == ["made", "read lost", "write lost"]
    connection.loseConnection()
    transport.take()
    assert transport.taken == b"still here"
    assert protocol.happened[-1] is ConnectionDone


def test_our_side_ends_even_while_the_peer_is_slow(world: World) -> None:
    protocol = HalfCloseable()
    connection, transport = world.connect(protocol)
    connection.write(b"x" * (KERNEL + 1))
    connection.loseWriteConnection()
    transport.take()
    assert "write lost" in protocol.happened


def test_ending_our_side_goes_on_reading_from_a_peer_that_was_slow(world: World) -> None:
    """Else the end of the peer's side would never be seen."""
    connection, transport = world.connect(HalfCloseable())
    connection.write(b"x" * (KERNEL + 1))
    connection.loseWriteConnection()
    assert transport.reading


def test_a_peer_that_has_ended_its_side_is_not_read_again_when_it_took_its_output(world: World) -> None:
    """Reading on would find the end a second time."""
    connection, transport = world.connect(HalfCloseable())
    transport.reading = False  # as the reactor does at the end of the peer's side
    transport.protocol.readConnectionLost()
    connection.write(b"x" * (KERNEL + 1))
    transport.take()
    connection.resumeProducing()
    assert not transport.reading


@pytest.mark.parametrize("callback", ["readConnectionLost", "writeConnectionLost"])
def test_an_exception_while_half_closing_aborts_that_connection(world: World, callback: str) -> None:
    protocol = HalfCloseable()
    setattr(protocol, callback, lambda: 1 / 0)
    connection, transport = world.connect(protocol)
    transport.protocol.readConnectionLost()
    if not transport.lost:
        connection.loseWriteConnection()
        transport.take()
    assert transport.lost
    assert world.faults == 1


def test_another_protocol_can_take_over_the_connection(world: World) -> None:
    first, second = Recorder(), Recorder()
    connection, transport = world.connect(first)
    transport.protocol.dataReceived(b"1")
    connection.protocol = second
    transport.protocol.dataReceived(b"2")
    transport.lose(ConnectionDone())
    assert first.happened == ["made", b"1"]
    assert second.happened == [b"2", ConnectionDone]


def test_a_protocol_may_replace_its_own_data_received(world: World) -> None:
    protocol: Any = Recorder()
    _, transport = world.connect(protocol)
    received: list[bytes] = []
    protocol.dataReceived = received.append
    transport.protocol.dataReceived(b"late")
    assert received == [b"late"]


def test_a_line_receiver_of_twisted_stops_at_lose_connection(world: World) -> None:
    class Once(LineReceiver):
        delimiter = b"\n"
        lines: list[bytes] = []  # noqa: RUF012

        def lineReceived(self, line: bytes) -> None:
            self.lines.append(line)
            assert self.transport is not None
            self.transport.loseConnection()

    protocol = Once()
    _, transport = world.connect(protocol)
    transport.protocol.dataReceived(b"one\ntwo\nthree\n")
    assert protocol.lines == [b"one"]


def test_what_is_written_after_the_end_goes_nowhere(world: World) -> None:
    connection, transport = world.connect(Recorder())
    transport.lose(ConnectionDone())
    connection.write(b"late")
    connection.writeSequence([b"late"])
    connection.loseConnection()
    assert transport.dataBuffer == b""


def test_draining_closes_the_idle_and_leaves_the_busy(world: World) -> None:
    _, idle = world.connect(Recorder())
    _, busy = world.connect(Recorder())
    world.run(10)
    busy.protocol.dataReceived(b"x")
    world.connections.drain(5.0, 0)
    assert idle.disconnecting
    assert not busy.disconnecting
    world.run(6)
    assert busy.disconnecting


def test_draining_closes_the_idle_one_after_the_other() -> None:
    world = World(max_connections=1000)
    idle = [world.connect(Recorder())[1] for _ in range(1000)]
    world.run(10)
    world.connections.drain(5.0, 20)
    closed = [0]
    for _ in range(20):
        world.run(1)
        closed.append(sum(transport.disconnecting for transport in idle))
    assert closed[-1] == 1000
    assert all(40 <= now - before <= 60 for before, now in pairwise(closed))


def test_a_turn_to_be_closed_does_not_outlast_the_idle_timeout() -> None:
    world = World(max_connections=100, idle_timeout="12s")
    idle = [world.connect(Recorder())[1] for _ in range(100)]
    world.run(10)
    world.connections.drain(5.0, 1000)
    world.run(3)
    assert all(transport.disconnecting for transport in idle)


def test_the_end_of_the_last_connection_is_told_once_the_end_is_near(world: World) -> None:
    before = world.connect(Recorder())[1]
    before.lose(ConnectionDone())
    assert world.emptied == 0
    first, second = world.connect(Recorder())[1], world.connect(Recorder())[1]
    world.connections.drain(60, 0)
    first.lose(ConnectionDone())
    assert world.emptied == 0
    second.lose(ConnectionDone())
    assert world.emptied == 1


def test_a_storm_of_one_kind_of_fault_is_written_once_and_counted(world: World) -> None:
    def storm(connections: int) -> None:
        for _ in range(connections):
            protocol: Any = Recorder()
            protocol.dataReceived = lambda data: 1 / 0
            _, transport = world.connect(protocol)
            transport.protocol.dataReceived(b"x")

    with capturedLogs() as events:
        storm(100)
        first_minute = [event for event in events if event["log_format"] == "plugin fault"]
        world.run(61)
        storm(1)
    faults = [event for event in events if event["log_format"] == "plugin fault"]
    assert len(first_minute) == 1
    assert world.faults == 101
    assert len(faults) == 2
    assert faults[1]["alike"] == 99


def test_nothing_is_left_on_the_clock_when_all_connections_are_gone(world: World) -> None:
    transports = [world.connect(Recorder())[1] for _ in range(3)]
    for transport in transports:
        transport.lose(ConnectionDone())
    world.run(61)
    assert world.clock.getDelayedCalls() == []


def test_a_producer_that_still_finds_a_taker_is_not_cut_while_closing(world: World) -> None:
    connection, transport = world.connect(Recorder())
    producer = Producer(connection)
    connection.registerProducer(producer, True)
    connection.loseConnection()
    for _ in range(5):
        world.run(4)
        connection.write(b"x" * 100)
        transport.taken, transport.dataBuffer = transport.dataBuffer, b""
    assert not transport.lost
    world.run(11)
    assert transport.lost
    assert producer.asked == ["stop"]


def test_a_producer_that_comes_too_late_is_stopped(world: World) -> None:
    connection, transport = world.connect(Recorder())
    transport.lose(ConnectionDone())
    producer = Producer(connection)
    connection.registerProducer(producer, True)
    assert producer.asked == ["stop"]


def test_a_producer_registered_while_the_peer_is_slow_is_paused_at_once(world: World) -> None:
    connection, _ = world.connect(Recorder())
    connection.write(b"x" * (KERNEL + 1))
    producer = Producer(connection)
    connection.registerProducer(producer, True)
    assert producer.asked == ["pause"]


def test_a_producer_that_raises_when_it_is_stopped_harms_nobody(world: World) -> None:
    connection, transport = world.connect(Recorder())
    producer: Any = Producer(connection)
    producer.stopProducing = lambda: 1 / 0
    connection.registerProducer(producer, True)
    transport.lose(ConnectionDone())
    assert world.faults == 1
    assert len(world.connections) == 0


def test_starting_tls_writes_through_the_transports_new_way(world: World) -> None:
    connection, transport = world.connect(Recorder())
    encrypted: list[bytes] = []
    any_transport: Any = transport
    any_transport.startTLS = lambda context: setattr(any_transport, "write", encrypted.append)
    connection.startTLS("a context")
    connection.write(b"secret")
    assert encrypted == [b"secret"]


def test_the_plugin_may_abort_and_is_told_so(world: World) -> None:
    protocol = Recorder()
    connection, _ = world.connect(protocol)
    connection.abortConnection()
    assert protocol.happened == ["made", ConnectionAborted]
    assert world.closed("aborted") == 1


def test_a_connection_can_be_a_producer_for_another_consumer(world: World) -> None:
    connection, transport = world.connect(Recorder())
    connection.stopProducing()
    transport.take()
    assert transport.lost


@pytest.mark.parametrize(
    ("error", "reason"), [(ConnectionLost(), "reset"), (ConnectionDone(), "peer closed")]
)
def test_each_end_has_its_reason(world: World, error: Exception, reason: str) -> None:
    _, transport = world.connect(Recorder())
    transport.lose(error)
    assert world.closed(reason) == 1
