from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone

from sockd.stream.unread import RELIEF
from tests.memory import KERNEL, Recorder, World


class Producer:
    """Producer that writes down what it is asked, and does what `then` says about it."""

    def __init__(self, **then: Any) -> None:
        self.asked: list[str] = []
        self._then = then

    def _hear(self, what: str) -> None:
        self.asked.append(what)
        if what in self._then:
            self._then[what]()

    def pauseProducing(self) -> None:
        self._hear("pause")

    def resumeProducing(self) -> None:
        self._hear("resume")

    def stopProducing(self) -> None:
        self._hear("stop")


def unread(world: World) -> int:
    return sum(len(connection.transport.dataBuffer) for connection in world.connections)


def test_when_all_leave_too_much_unread_the_worst_are_cut() -> None:
    """Bound of all connections together."""
    world = World(unread=500_000, max_connections=10)
    pairs = [world.connect(Recorder()) for _ in range(5)]
    for size, (connection, _) in zip((90_000, 80_000, 200_000, 70_000, 90_000), pairs, strict=True):
        connection.write(b"x" * size)
    assert [transport.lost for _, transport in pairs] == [False, False, True, False, False]
    assert world.closed("unread output of all") == 1


def test_no_more_is_cut_than_must_be_and_some_room_is_left() -> None:
    world = World(unread=1_000_000, max_connections=20)
    pairs = [world.connect(Recorder()) for _ in range(12)]
    for connection, _ in pairs:
        connection.write(b"x" * 100_000)
    assert 0.8 * 1_000_000 <= unread(world) <= 1_000_000
    lost = sum(transport.lost for _, transport in pairs)
    assert lost == world.closed("unread output of all") == 2 or unread(world) <= RELIEF * 1_000_000


def test_what_peers_have_taken_meanwhile_does_not_count() -> None:
    world = World(unread=500_000, max_connections=10)
    pairs = [world.connect(Recorder()) for _ in range(6)]
    for connection, transport in pairs:
        connection.write(b"x" * 120_000)
        transport.take(119_000)
    assert not any(transport.lost for _, transport in pairs)


def test_memory_stays_bounded_whatever_plugins_write() -> None:
    world = World(unread=500_000, max_connections=100)
    pairs = [world.connect(Recorder()) for _ in range(50)]
    most = 0
    for number in range(2000):
        connection, _ = pairs[number * 7 % 50]
        connection.write(b"x" * (KERNEL // 2 + number))
        most = max(most, unread(world))
    below_notice = 50 * (KERNEL + KERNEL)  # what a transport takes before it says that it is full
    assert most <= 500_000 + below_notice
    assert world.closed("unread output of all") > 0


def test_who_is_gone_is_not_counted_any_more() -> None:
    world = World(unread=500_000, max_connections=10)
    for _ in range(20):
        connection, transport = world.connect(Recorder())
        connection.write(b"x" * 100_000)
        transport.lose(ConnectionDone())
    connection, transport = world.connect(Recorder())
    connection.write(b"x" * 400_000)
    assert not transport.lost


def test_a_plugin_that_writes_to_others_when_one_is_cut_does_not_confuse_the_count() -> None:
    """Example: a chat, which says who has left."""
    world = World(unread=400_000, max_connections=10)
    others: list[Any] = []

    class Member(Recorder):
        def connectionLost(self, reason: Any = None) -> None:
            super().connectionLost(reason)
            for other in others:
                other.write(b"somebody has left" * 1000)

    pairs = [world.connect(Member()) for _ in range(6)]
    others += [connection for connection, _ in pairs]
    for connection, _ in pairs:
        connection.write(b"x" * 90_000)
    assert unread(world) <= 400_000
    for _, transport in pairs:
        transport.take()
        transport.lose(ConnectionDone())
    connection, transport = world.connect(Recorder())
    connection.write(b"x" * 390_000)
    assert not transport.lost
    transport.lose(ConnectionDone())
    assert world.is_empty()


@pytest.mark.parametrize("after", [True, False])
def test_the_bound_of_one_peer_holds_while_the_connection_closes(after: bool) -> None:
    world = World(max_unread_output="128KiB")
    connection, transport = world.connect(Recorder())
    connection.registerProducer(Producer(), True)
    if after:
        connection.loseConnection()
    for _ in range(200):
        connection.write(b"x" * 1024)
    assert transport.lost
    assert world.closed("unread output") == 1


def test_a_streaming_producer_that_was_paused_writes_its_last_after_the_end_was_asked_for() -> None:
    """Twisted's transports wait for it, too."""
    world = World()
    connection, transport = world.connect(Recorder())

    def finish() -> None:
        connection.write(b"the last")
        connection.unregisterProducer()

    producer = Producer(resume=finish)
    connection.registerProducer(producer, True)
    connection.write(b"x" * (KERNEL + 1))
    connection.loseConnection()
    transport.take()
    transport.take()
    assert producer.asked == ["pause", "resume"]
    assert transport.taken.endswith(b"the last")
    assert transport.lost
    assert world.closed("closed") == 1


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("what", ["pause", "resume", "stop"])
def test_a_producer_that_raises_harms_its_own_connection_alone(streaming: bool, what: str) -> None:
    """Another connection's plugin may be the one that writes, as in a chat."""
    world = World()
    connection, transport = world.connect(Recorder())
    producer = Producer(**{what: lambda: 1 / 0})

    class Neighbour(Recorder):
        def dataReceived(self, data: bytes) -> None:
            connection.write(data * (KERNEL + 1))

    _, neighbour = world.connect(Neighbour())
    connection.registerProducer(producer, streaming)
    neighbour.protocol.dataReceived(b"x")
    transport.take()
    transport.lose(ConnectionDone())
    assert not neighbour.lost
    assert world.faults == (0 if (what, streaming) == ("pause", False) else 1)
    neighbour.lose(ConnectionDone())
    assert world.is_empty()


def test_a_pulled_producer_is_bounded_too() -> None:
    world = World(max_unread_output="128KiB")
    connection, transport = world.connect(Recorder())
    connection.registerProducer(Producer(resume=lambda: connection.write(b"x" * 200_000)), False)
    assert transport.lost
    assert world.closed("unread output") == 1


def test_after_a_pulled_producer_a_streaming_one_is_paused_and_resumed() -> None:
    world = World()
    connection, transport = world.connect(Recorder())
    connection.registerProducer(Producer(), False)
    connection.unregisterProducer()
    producer = Producer()
    connection.registerProducer(producer, True)
    connection.write(b"x" * (KERNEL + 1))
    transport.take()
    assert producer.asked == ["pause", "resume"]
    assert transport.reading


def test_the_first_answer_does_not_lift_the_bound_of_a_pulled_producer() -> None:
    world = World(max_unread_output="128KiB", first_message_timeout="10s")
    protocol = Recorder()
    transport = world.enter(world.factory(lambda _: protocol, over_tcp=True))
    connection = transport.protocol
    connection.registerProducer(Producer(), False)
    transport.protocol.dataReceived(b"hello")
    connection.write(b"the answer")
    connection.write(b"x" * 200_000)
    assert transport.lost


def test_what_is_written_to_a_connection_that_is_gone_is_not_counted_for_ever() -> None:
    world = World()
    connection, transport = world.connect(Recorder())
    transport.lose(ConnectionDone())
    connection.loseWriteConnection()
    connection.write(b"x")
    assert transport.dataBuffer == b""


def test_other_limits_hold_for_connections_that_are_open_already() -> None:
    """`connections.change`, as a reload does."""
    world = World()
    connection, transport = world.connect(Recorder())
    changed = world.limits.model_copy(update={"idle_timeout": 5.0, "max_unread_output": 70_000})
    world.connections.change(changed)
    connection.write(b"x" * 60_000)
    transport.take()
    connection.write(b"x" * 66_000)
    connection.write(b"x" * 10_000)
    assert transport.lost
    _, idle = world.connect(Recorder())
    world.run(5.2)
    assert idle.disconnecting


@pytest.mark.parametrize(
    ("limits", "reason"), [({"idle_timeout": 5.0}, "idle"), ({"lifetime": 5.0}, "lifetime")]
)
def test_a_shorter_deadline_ends_what_has_passed_it_already(limits: dict[str, float], reason: str) -> None:
    world = World()
    _, transport = world.connect(Recorder())
    world.run(30)
    world.connections.change(world.limits.model_copy(update=limits))
    transport.take()
    assert transport.lost
    assert world.closed(reason) == 1


def test_a_longer_or_no_deadline_spares_what_would_have_ended() -> None:
    world = World()
    transports = [world.connect(Recorder())[1] for _ in range(2)]
    world.run(30)
    world.connections.change(world.limits.model_copy(update={"idle_timeout": None}))
    world.run(60)
    assert not any(transport.disconnecting for transport in transports)
