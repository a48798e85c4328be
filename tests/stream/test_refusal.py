from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost

from sockd.stream.refusal import MOST_TARPITS, Tarpit
from tests.memory import Recorder, Transport, World


def full(over_limit: str, **limits: Any) -> World:
    """Return a service whose only place is taken."""
    world = World(max_connections=1, over_limit=over_limit, **limits)
    world.connect(Recorder())
    return world


def come(world: World) -> Transport:
    return world.enter(world.factory(lambda _: Recorder()))


def leave(world: World) -> None:
    """End the connection that has the place."""
    for connection in list(world.connections):
        connection.transport.lose(ConnectionDone())


def test_refuse_closes_at_once() -> None:
    world = full("refuse")
    assert come(world).lost
    leave(world)
    assert world.is_empty()


def test_reset_breaks_the_connection_off() -> None:
    world = full("reset")
    transport = come(world)
    assert transport.lost
    assert not transport.disconnecting
    leave(world)
    assert world.is_empty()


def test_banner_tells_a_line_and_closes() -> None:
    world = full("banner", over_limit_banner="come back later")
    transport = come(world)
    transport.protocol.dataReceived(b"hello?")
    transport.take()
    assert transport.taken == b"come back later\r\n"
    assert transport.lost
    leave(world)
    assert world.is_empty()


def test_tarpit_holds_the_peer_unread_for_its_time() -> None:
    world = full("tarpit", tarpit_time="3s")
    transport = come(world)
    assert not transport.reading
    world.run(2.9)
    assert not transport.lost
    world.run(0.3)
    assert transport.lost
    assert transport.taken == b""
    leave(world)
    assert world.is_empty()


def test_a_tarpit_holds_a_bounded_number_and_refuses_the_others() -> None:
    world = full("tarpit")
    held = [come(world) for _ in range(MOST_TARPITS)]
    assert all(isinstance(transport.protocol, Tarpit) for transport in held)
    assert come(world).lost
    held[0].lose(ConnectionLost())
    assert not come(world).lost
    assert world.admission.open == 1
    leave(world)
    world.run(10.2)
    assert all(transport.lost for transport in held)
    assert world.is_empty()


def test_when_the_end_is_near_the_tarpit_lets_go_and_is_not_waited_for() -> None:
    world = full("tarpit")
    transport = come(world)
    world.connections.drain(5.0, 0)
    assert transport.lost
    assert world.emptied == 0
    leave(world)
    assert world.emptied == 1
    assert world.is_empty()


def test_a_peer_that_leaves_the_tarpit_leaves_no_deadline() -> None:
    world = full("tarpit")
    come(world).lose(ConnectionLost())
    leave(world)
    world.run(10.2)
    assert world.is_empty()
    world.run(60)
    assert world.clock.getDelayedCalls() == []


@pytest.mark.parametrize("over_limit", ["refuse", "reset", "banner", "tarpit", "queue"])
def test_a_refusal_is_counted_with_its_reason_unless_it_waits(over_limit: str) -> None:
    world = full(over_limit)
    come(world)
    assert world.refused("max_connections") == (over_limit != "queue")
    assert world.admission.open == 1
