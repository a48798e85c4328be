from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from sockd.datagram.loops import MOST_PEERS, MOST_REPEATS, SOON, Loops

PEER = ("192.0.2.1", 7007)


@pytest.mark.parametrize("datagram", [b"", b"x", b"\0" * 65507])
def test_a_loop_is_broken_after_so_many_repeats(datagram: bytes) -> None:
    """Fault 16."""
    clock = Clock()
    clock.advance(100)
    loops = Loops(clock.seconds)
    assert [loops.is_one(PEER, datagram) for _ in range(MOST_REPEATS + 1)] == [False] * MOST_REPEATS + [True]


def test_a_loop_that_begins_again_is_broken_again() -> None:
    loops = Loops(Clock().seconds)
    found = [loops.is_one(PEER, b"x") for _ in range(5 * (MOST_REPEATS + 1))]
    assert 4 <= found.count(True) <= 5


def test_a_client_that_asks_for_something_else_is_never_hit() -> None:
    loops = Loops(Clock().seconds)
    assert not any(loops.is_one(PEER, b"%d" % (number % 2)) for number in range(5 * MOST_REPEATS))


def test_a_client_that_asks_less_often_is_never_hit() -> None:
    clock = Clock()
    loops = Loops(clock.seconds)
    for _ in range(2 * MOST_REPEATS):
        assert not loops.is_one(PEER, b"ping")
        clock.advance(SOON)


def test_each_peer_is_counted_by_itself() -> None:
    loops = Loops(Clock().seconds)
    for _ in range(MOST_REPEATS - 1):
        assert not any(loops.is_one((PEER[0], port), b"x") for port in range(3))


def test_forged_peers_cannot_fill_the_memory_nor_hide_a_loop_that_goes_on() -> None:
    """When the table is full it begins anew, and a loop is faster than that."""
    loops = Loops(Clock().seconds)
    for number in range(3 * MOST_PEERS):
        loops.is_one(number, b"x")
    assert len(loops._peers) <= MOST_PEERS
    assert any(loops.is_one(PEER, b"x") for _ in range(MOST_REPEATS + 1))
