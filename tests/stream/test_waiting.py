from __future__ import annotations

from dataclasses import dataclass

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from sockd.limits import Admission, Terms
from sockd.stream import proxy
from sockd.stream.factory import ConnectionFactory
from sockd.stream.waiting import Waiting, WaitingRoom
from tests.memory import PEER, Recorder, Transport, World

PROXY = IPv4Address("TCP", "192.0.2.7", 50000)
CLIENT = IPv4Address("TCP", "203.0.113.5", 1234)


@dataclass(frozen=True)
class Rate:
    count: int
    seconds: float


class Service:
    """Service with a queue, whose protocols write down in which order they are connected."""

    def __init__(self, terms: Terms) -> None:
        self.world = World(terms, over_limit="queue")
        self.served: list[int] = []
        self._next = 0

    def door(self, **options: str) -> ConnectionFactory:
        return self.world.factory(self._build, **options)  # type: ignore[arg-type]  # all are strings here

    def _build(self, _: object) -> Recorder:
        number, self._next = self._next, self._next + 1
        protocol = Recorder()
        protocol.connectionMade = lambda: self.served.append(number)  # type: ignore[method-assign]
        return protocol

    def come(self, peers: int) -> list[Transport]:
        """Accept so many peers in one turn."""
        door = self.door()
        return [self.world.enter(door) for _ in range(peers)]


def is_waiting(transport: Transport) -> bool:
    return isinstance(transport.protocol, Waiting) and not transport.lost


def test_those_who_find_it_full_wait_and_nobody_is_lost() -> None:
    """Places are never exceeded, and every peer is served in the end."""
    service = Service(Terms(2))
    transports = service.come(20)
    assert [is_waiting(transport) for transport in transports] == [False] * 2 + [True] * 18
    for transport in transports:
        assert service.world.admission.open <= 2
        assert not is_waiting(transport)
        transport.lose(ConnectionDone())
    assert service.served == list(range(20))
    assert service.world.is_empty()


def test_nothing_is_read_of_those_who_wait_until_they_are_served() -> None:
    service = Service(Terms(1))
    first, second = service.come(2)
    assert not second.reading
    first.lose(ConnectionDone())
    assert second.reading


def test_accepting_pauses_with_the_last_place_and_resumes_when_nobody_waits() -> None:
    service = Service(Terms(2))
    first, second, third = service.come(3)
    assert service.world.held == [True]
    first.lose(ConnectionDone())
    assert service.world.held == [True]
    assert not is_waiting(third)
    second.lose(ConnectionDone())
    assert service.world.held == [True, False]


def test_many_places_at_once_are_given_in_the_order_of_coming() -> None:
    """Case of a reload that raises the limit: not one inside the other, which would also end the stack."""
    service = Service(Terms(1))
    service.come(1001)
    service.world.admission.change(Terms(2000))
    room = service.world.connections.room
    assert room is not None
    room.look()
    assert service.served == list(range(1001))
    assert service.world.held == [True, False]


def test_a_higher_limit_serves_those_who_wait_at_once() -> None:
    """Order of a reload: the terms of admission, then the connections' limits."""
    service = Service(Terms(1))
    service.come(3)
    service.world.admission.change(Terms(9))
    service.world.connections.change(service.world.limits)
    assert service.served == [0, 1, 2]
    assert service.world.held == [True, False]


def test_a_peer_that_leaves_while_it_waits_takes_no_place() -> None:
    service = Service(Terms(1))
    first, second, third = service.come(3)
    second.lose(ConnectionLost())
    first.lose(ConnectionDone())
    assert not is_waiting(third)
    assert service.served == [0, 1]
    third.lose(ConnectionDone())
    assert service.world.is_empty()


def test_the_last_one_to_leave_while_waiting_lets_accepting_go_on() -> None:
    service = Service(Terms(9, connection_rate=Rate(1, 10.0)))
    _, second = service.come(2)
    second.lose(ConnectionLost())
    service.world.run(10.1)
    assert service.world.held == [True, False]


def test_a_rate_lets_them_in_one_by_one_as_time_passes() -> None:
    service = Service(Terms(99, connection_rate=Rate(2, 10.0)))
    service.come(5)
    served = []
    for _ in range(4):
        served.append(len(service.served))
        service.world.run(5.1)
    assert served == [2, 3, 4, 5]
    assert service.world.held == [True, False]


class Passing(Clock):
    """Clock on which time passes with every look at it, as with real ones."""

    def seconds(self) -> float:
        self.rightNow += 1e-5
        return float(super().seconds())


@pytest.mark.parametrize("late", [number * 1e-5 for number in range(12)])
def test_a_rate_that_has_room_between_two_looks_does_not_end_accepting_for_ever(late: float) -> None:
    clock = Passing()
    held: list[bool] = []
    admission = Admission(Terms(99, connection_rate=Rate(1, 1.0)), clock.seconds)
    room = WaitingRoom(admission, clock, held.append)
    admission.admit()
    clock.rightNow = 0.98995 + late  # the token is there at 0.99, a hundredth before its time
    room.look()
    clock.advance(1.0)
    assert held in ([], [True, False])


def test_one_who_has_waited_is_judged_anew() -> None:
    """Its source may have used its share meanwhile."""
    service = Service(Terms(2, max_per_source=1))
    world = service.world
    other = world.enter(service.door(), IPv4Address("TCP", "203.0.113.1", 1))
    another = world.enter(service.door(), IPv4Address("TCP", "203.0.113.2", 1))
    first, second = service.come(2)
    another.lose(ConnectionDone())
    assert not is_waiting(first)
    other.lose(ConnectionDone())
    assert second.disconnecting
    assert world.refused("max_per_source") == 1
    first.lose(ConnectionDone())
    assert world.is_empty()


def test_a_source_over_its_own_limit_does_not_wait() -> None:
    service = Service(Terms(9, max_per_source=1))
    first, second = service.come(2)
    assert second.lost
    first.lose(ConnectionDone())
    assert service.world.is_empty()


def test_behind_a_proxy_they_wait_before_their_header_is_read() -> None:
    service = Service(Terms(1))
    door = service.door(mode="require")
    first, second = [service.world.enter(door, PROXY) for _ in range(2)]
    assert is_waiting(second)
    first.lose(ConnectionDone())
    second.protocol.dataReceived(proxy.render(CLIENT, CLIENT, 2))
    assert service.served == [0]
    second.lose(ConnectionDone())
    assert service.world.is_empty()


def test_when_the_end_is_near_those_who_wait_are_cut_and_accepting_is_not_resumed() -> None:
    """Ports are closed by then."""
    service = Service(Terms(1))
    first, second = service.come(2)
    service.world.connections.drain(5.0, 0)
    assert second.lost
    first.lose(ConnectionDone())
    assert service.world.held == [True]
    assert service.world.emptied == 1
    assert service.world.is_empty()


def test_one_who_comes_after_the_end_is_cut() -> None:
    """Reactors may have accepted it before, and build its protocol a turn later."""
    service = Service(Terms(1))
    first = service.come(1)[0]
    service.world.connections.drain(5.0, 0)
    assert service.come(1)[0].lost
    first.lose(ConnectionDone())
    assert service.world.is_empty()


def test_the_end_leaves_nothing_on_the_clock() -> None:
    clock = Clock()
    admission = Admission(Terms(9, connection_rate=Rate(1, 10.0)), clock.seconds)
    room = WaitingRoom(admission, clock, lambda _: None)
    admission.admit()
    room.look()
    assert clock.getDelayedCalls()
    room.cut()
    room.look()
    assert clock.getDelayedCalls() == []


def test_a_peer_that_the_plugin_does_not_want_leaves_its_place_to_the_next() -> None:
    world = World(Terms(1), over_limit="queue")
    protocols = iter([Recorder(), None, Recorder()])
    door = world.factory(lambda _: next(protocols))
    first, second, third = [world.enter(door, PEER) for _ in range(3)]
    first.lose(ConnectionDone())
    assert second.disconnecting
    assert not is_waiting(third)
    third.lose(ConnectionDone())
    assert world.is_empty()
