from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone

from sockd.plugin import takes_at_once
from sockd.stream.pace import BUDGET, FIRST, LEAST, MOST, PIECE, UNTIMED, _learnt
from tests.memory import Recorder, World, turn


class Slow(Recorder):
    """Protocol that takes time for every byte; `then` is what it does with the piece of that number."""

    def __init__(
        self, world: World, seconds_per_byte: float = 1e-6, then: dict[int, Any] | None = None
    ) -> None:
        super().__init__()
        self._world = world
        self._cost = seconds_per_byte
        self._then = then or {}

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self._world.clock.rightNow += len(data) * self._cost
        action = self._then.get(len(self.happened) - 1)
        if action is not None:
            action(self.transport)

    @property
    def pieces(self) -> list[bytes]:
        return [piece for piece in self.happened if isinstance(piece, bytes)]


class Keeper(Slow):
    """Protocol that takes whole reads, whatever they cost."""

    def connectionMade(self) -> None:
        super().connectionMade()
        takes_at_once(self.transport)


@pytest.fixture
def world() -> World:
    return World()


DATA = bytes(range(256)) * 8  # four pieces of FIRST bytes, each different from its neighbours only by place

COST = PIECE / FIRST
"""Seconds for a byte, so that a piece of FIRST bytes takes what a piece may take."""


def test_a_plugin_that_is_slow_gets_smaller_pieces_and_all_of_them_in_order(world: World) -> None:
    """Data of one peer does not keep the others waiting."""
    protocol = Slow(world, 1e-6)
    _, transport = world.connect(protocol)
    for _ in range(2):
        transport.protocol.dataReceived(DATA * 16)
        while not transport.reading:
            before = world.clock.seconds()
            turn(world.clock)
            assert world.clock.seconds() - before < BUDGET + 2 * PIECE
    assert b"".join(protocol.pieces) == DATA * 32
    assert len(protocol.pieces) > 16
    assert max(map(len, protocol.pieces)) == FIRST


def test_a_peer_that_is_new_begins_with_a_small_piece_however_quick_the_plugin_is(world: World) -> None:
    protocol = Recorder()
    _, transport = world.connect(protocol)
    transport.protocol.dataReceived(DATA * 2)
    while not transport.reading:
        turn(world.clock)
    transport.protocol.dataReceived(DATA * 2)
    pieces = [len(piece) for piece in protocol.happened if isinstance(piece, bytes)]
    assert pieces == [FIRST, 2 * FIRST, 4 * FIRST, FIRST, len(DATA) * 2]


def test_a_plugin_that_is_quick_is_not_timed_each_time(world: World) -> None:
    asked: list[float] = []
    seconds = world.clock.seconds
    connection, transport = world.connect(Recorder())
    world.connections.context.seconds = lambda: asked.append(0.0) or seconds()  # type: ignore[func-returns-value]
    connection._meter = None
    connection.route()
    for _ in range(MOST // 64):
        transport.protocol.dataReceived(b"x" * 64)
    assert len(asked) < 2 * 2 * (1 / UNTIMED + 10)


def test_a_peer_that_was_quick_and_turns_slow_is_found_out_at_once(world: World) -> None:
    """Else somebody could be good for a while, and then send empty lines by the thousand."""
    protocol = Slow(world, 0.0)
    _, transport = world.connect(protocol)
    for _ in range(100):
        transport.protocol.dataReceived(b"x" * 1000)
        while not transport.reading:
            turn(world.clock)
    protocol._cost = COST
    spent = []
    for _ in range(10):
        before = world.clock.seconds()
        transport.protocol.dataReceived(DATA * 2)
        spent.append(world.clock.seconds() - before)
        while not transport.reading:
            turn(world.clock)
    assert max(spent[2:]) <= 2 * PIECE


@pytest.mark.parametrize("size", [64, 4096])
def test_many_messages_of_a_size_that_is_not_timed_each_do_not_escape(world: World, size: int) -> None:
    protocol = Slow(world, COST)
    _, transport = world.connect(protocol)
    late = 0
    for _ in range(200):
        if transport.reading:
            before = world.clock.seconds()
            transport.protocol.dataReceived(b"x" * size)
            late += world.clock.seconds() - before > 2 * PIECE
        turn(world.clock)
    assert late <= 1


def test_others_have_their_turn_between_two_pieces(world: World) -> None:
    order: list[str] = []

    class Named(Recorder):
        def __init__(self, name: str) -> None:
            super().__init__()
            self._name = name

        def dataReceived(self, data: bytes) -> None:
            order.append(self._name)
            world.clock.rightNow += 0.006 if len(data) > 1 else 0

    many, few = world.connect(Named("many"))[1], world.connect(Named("few"))[1]
    many.protocol.dataReceived(b"x" * (FIRST + 2 * LEAST))
    for _ in range(2):
        few.protocol.dataReceived(b"y")
        turn(world.clock)
    assert order == ["many", "few", "many", "few", "many"]


def test_nothing_is_read_until_all_was_handed_on(world: World) -> None:
    _, transport = world.connect(Slow(world, BUDGET / LEAST))
    transport.protocol.dataReceived(DATA)
    for _ in range((len(DATA) - FIRST) // LEAST):
        assert not transport.reading
        turn(world.clock)
    assert transport.reading


def test_a_plugin_that_pauses_in_between_gets_the_rest_when_it_resumes(world: World) -> None:
    protocol = Slow(world, BUDGET / LEAST, {2: lambda transport: transport.pauseProducing()})
    connection, transport = world.connect(protocol)
    transport.protocol.dataReceived(DATA)
    for _ in range(10):
        turn(world.clock)
    assert b"".join(protocol.pieces) == DATA[: FIRST + LEAST]
    assert not transport.reading
    connection.resumeProducing()
    for _ in range(10):
        turn(world.clock)
    assert b"".join(protocol.pieces) == DATA
    assert transport.reading


def test_pausing_and_resuming_twice_in_one_turn_hands_on_each_piece_once(world: World) -> None:
    def flicker(transport: Any) -> None:
        for _ in range(2):
            transport.pauseProducing()
            transport.resumeProducing()

    protocol = Slow(world, COST, {1: flicker, 2: flicker, 3: flicker})
    _, transport = world.connect(protocol)
    transport.protocol.dataReceived(DATA)
    for _ in range(10):
        turn(world.clock)
    assert b"".join(protocol.pieces) == DATA
    assert transport.reading


@pytest.mark.parametrize("piece", [1, 2])
def test_a_plugin_that_closes_in_between_gets_nothing_more(world: World, piece: int) -> None:
    protocol = Slow(world, COST, {piece: lambda transport: transport.loseConnection()})
    _, transport = world.connect(protocol)
    transport.protocol.dataReceived(DATA)
    for _ in range(10):
        turn(world.clock)
    transport.take()
    assert len(protocol.pieces) == piece
    assert protocol.happened[-1] is ConnectionDone
    assert world.is_empty()


@pytest.mark.parametrize("piece", [1, 2])
def test_a_plugin_that_raises_in_between_is_aborted(world: World, piece: int) -> None:
    protocol = Slow(world, COST, {piece: lambda _: 1 / 0})
    _, transport = world.connect(protocol)
    transport.protocol.dataReceived(DATA)
    for _ in range(10):
        turn(world.clock)
    assert len(protocol.pieces) == piece
    assert protocol.happened[-1] is ConnectionAborted
    assert world.faults == 1
    assert world.is_empty()


def test_a_peer_that_does_not_read_is_not_answered_for_the_rest_until_it_does(world: World) -> None:
    """Echoed data that was read already counts as well."""
    protocol = Slow(world, COST, {1: lambda transport: transport.write(b"x" * 70_000)})
    _, transport = world.connect(protocol)
    transport.protocol.dataReceived(DATA)
    for _ in range(10):
        turn(world.clock)
    assert len(protocol.pieces) == 1
    transport.take()
    for _ in range(10):
        turn(world.clock)
    assert b"".join(protocol.pieces) == DATA


def test_a_rate_holds_the_rest_back_too() -> None:
    world = World(bytes_per_second=len(DATA) // 4)
    protocol = Slow(world)
    _, transport = world.connect(protocol)
    transport.protocol.dataReceived(DATA)
    world.run(2)
    assert len(protocol.pieces) == 1
    world.run(2)
    assert b"".join(protocol.pieces) == DATA


def test_a_connection_that_is_gone_has_no_turn_left(world: World) -> None:
    protocol = Slow(world, BUDGET / LEAST)
    _, transport = world.connect(protocol)
    transport.protocol.dataReceived(DATA)
    transport.lose(ConnectionDone())
    turn(world.clock)
    assert len(protocol.pieces) == 1
    assert protocol.happened[-1] is ConnectionDone


def test_what_follows_goes_to_whoever_took_the_connection_over(world: World) -> None:
    second = Slow(world)
    first = Slow(world, COST, {1: lambda transport: setattr(transport, "protocol", second)})
    _, transport = world.connect(first)
    transport.protocol.dataReceived(DATA)
    for _ in range(10):
        turn(world.clock)
    assert b"".join(first.pieces + second.pieces) == DATA
    assert len(first.pieces) == 1


def test_one_slow_piece_is_forgotten_once_pieces_are_taken_fast(world: World) -> None:
    _, transport = world.connect(Recorder())
    for _ in range(12):
        transport.protocol.dataReceived(b"x" * 65536)
        while not transport.reading:
            turn(world.clock)
    assert world.connections.context.pace.size > 65536


@given(st.lists(st.tuples(st.integers(1, MOST), st.floats(0, 100, allow_nan=False))))
def test_a_piece_is_never_too_small_nor_too_large(took: list[tuple[int, float]]) -> None:
    piece = MOST
    for size, seconds in took:
        piece = _learnt(piece, size, seconds)
        assert LEAST <= piece <= MOST


def test_those_who_keep_a_service_busy_share_one_budget(world: World) -> None:
    """Twenty such peers take no more of a turn than one."""
    protocols = [Slow(world, BUDGET / LEAST) for _ in range(20)]
    for protocol in protocols:
        world.limits = world.limits.model_copy(update={"max_connections": 100})
        world.connections.admission.change(replace(world.connections.admission.terms, max_connections=100))
        world.connect(protocol)[1].protocol.dataReceived(DATA)
    before = world.clock.seconds()
    turn(world.clock)
    assert world.clock.seconds() - before < 2 * BUDGET
    for _ in range(5000):
        turn(world.clock)
    assert all(b"".join(protocol.pieces) == DATA for protocol in protocols)


def test_who_asks_for_little_does_not_wait_behind_those_who_ask_for_much(world: World) -> None:
    quick = Recorder()
    transport = world.connect(quick)[1]
    for _ in range(2):
        world.connect(Slow(world, BUDGET / LEAST))[1].protocol.dataReceived(DATA)
    transport.protocol.dataReceived(b"x" * FIRST)
    assert quick.happened == ["made", b"x" * FIRST]


def test_a_peer_that_sends_without_a_pause_leaves_a_turn_to_the_others_now_and_then(world: World) -> None:
    """uvloop would go on reading from it as long as its buffer is filled."""
    _, transport = world.connect(Recorder())
    for _ in range(2):
        transport.protocol.dataReceived(bytes(256_000))
        assert not transport.reading
        while not transport.reading:
            turn(world.clock)


def test_a_plugin_that_takes_all_at_once_is_handed_whole_reads(world: World) -> None:
    protocol = Keeper(world, COST)
    _, transport = world.connect(protocol)
    for _ in range(100):
        transport.protocol.dataReceived(DATA)
    assert protocol.pieces == [DATA] * 100
    assert transport.reading
