"""Closing without a reset, in memory."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from sockd.sockets.linger import AT_THE_END, LONGEST, MOST, PAUSE, SILENT, Linger
from tests.memory import Recorder, Transport, World


@pytest.fixture
def world() -> World:
    return World()


def lingering(world: World) -> tuple[Recorder, Transport]:
    """Return a connection that its plugin has closed, whose peer has not ended its side."""
    protocol = Recorder()
    connection, transport = world.connect(protocol)
    transport.lingers = True
    connection.write(b"answer")
    connection.loseConnection()
    transport.take()
    assert isinstance(transport.protocol, Linger)
    return protocol, transport


def test_the_plugin_is_done_and_its_place_free_once_everything_is_sent(world: World) -> None:
    protocol, transport = lingering(world)
    assert transport.taken == b"answer"
    assert protocol.happened == ["made", ConnectionDone]
    assert world.is_empty()
    assert world.closed("closed") == 1
    assert not transport.lost


def test_later_input_of_the_peer_is_dropped_and_read_in_pauses(world: World) -> None:
    protocol, transport = lingering(world)
    transport.protocol.dataReceived(b"more")
    assert not transport.reading
    world.run(PAUSE)
    assert transport.reading
    assert protocol.happened == ["made", ConnectionDone]


def test_the_end_of_the_peer_is_the_end(world: World) -> None:
    _, transport = lingering(world)
    transport.lose(ConnectionDone())
    assert not len(world.connections.context.lingering)
    world.run(SILENT + 1)


def test_a_peer_that_says_nothing_is_waited_for_only_so_long(world: World) -> None:
    _, transport = lingering(world)
    world.run(SILENT - 0.5)
    assert not transport.disconnecting
    world.run(1)
    assert transport.disconnecting


def test_a_peer_that_goes_on_is_waited_for_only_so_long(world: World) -> None:
    _, transport = lingering(world)
    for _ in range(int(LONGEST) - 1):
        transport.protocol.dataReceived(b"more")
        world.run(1)
    assert not transport.disconnecting
    world.run(3)
    assert transport.disconnecting


def test_the_one_that_has_lingered_for_longest_makes_room(world: World) -> None:
    transports = [lingering(world)[1] for _ in range(MOST)]
    assert not any(transport.disconnecting for transport in transports)
    lingering(world)
    assert [transport.disconnecting for transport in transports] == [True] + [False] * (MOST - 1)


def test_input_that_comes_before_all_output_is_sent_is_dropped_too(world: World) -> None:
    protocol = Recorder()
    connection, transport = world.connect(protocol)
    connection.write(b"answer")
    connection.loseConnection()
    connection.dataReceived(b"more")
    assert not transport.reading
    world.run(PAUSE)
    assert transport.reading
    assert protocol.happened == ["made"]


def test_a_peer_that_ended_first_is_not_waited_for(world: World) -> None:
    connection, transport = world.connect(Recorder())
    connection.write(b"answer")
    connection.readConnectionLost()
    transport.take()
    assert transport.lost
    assert world.is_empty()


def test_a_peer_that_ends_before_everything_is_sent_is_not_waited_for(world: World) -> None:
    connection, transport = world.connect(Recorder())
    connection.write(b"answer")
    connection.loseConnection()
    connection.readConnectionLost()
    transport.take()
    transport.take()
    assert transport.lost


@implementer(IHalfCloseableProtocol)
class HalfClosing(Recorder):
    def readConnectionLost(self) -> None:
        self.happened.append("read lost")

    def writeConnectionLost(self) -> None:
        self.happened.append("write lost")


def test_a_plugin_that_has_ended_its_side_before_is_done_at_once(world: World) -> None:
    protocol = HalfClosing()
    connection, transport = world.connect(protocol)
    connection.loseWriteConnection()
    transport.take()
    connection.loseConnection()
    assert protocol.happened == ["made", "write lost", ConnectionDone]
    assert isinstance(transport.protocol, Linger)


def test_a_plugin_that_aborts_what_is_over_does_not_take_the_answer_back(world: World) -> None:
    protocol = Recorder()
    connection, transport = world.connect(protocol)
    transport.lingers = True
    connection.loseConnection()
    transport.take()
    connection.abortConnection()
    connection.write(b"late")
    assert not transport.lost


def test_a_reset_while_it_lingers_is_no_event(world: World) -> None:
    _, transport = lingering(world)
    transport.lose(ConnectionLost())
    assert world.closed("reset") == 0
    assert not len(world.connections.context.lingering)


def test_the_end_of_the_service_waits_a_moment_for_those_who_linger(world: World) -> None:
    _, transport = lingering(world)
    world.connections.drain(5, 0)
    assert world.connections.busy
    assert not world.emptied
    world.run(AT_THE_END + 0.2)
    assert transport.disconnecting
    transport.lose(ConnectionDone())
    assert world.emptied
    assert not world.connections.busy


def test_no_connection_lingers_after_the_end(world: World) -> None:
    _, transport = lingering(world)
    world.connections.cut("drain timeout")
    assert transport.disconnecting
