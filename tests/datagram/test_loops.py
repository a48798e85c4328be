from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from twisted.internet.task import Clock

from sockd.datagram.loops import (
    FIRST_BUDGET,
    FIRST_DYNAMIC_PORT,
    LOOK_EVERY,
    MOST_IN_FLIGHT,
    MOST_PEERS,
    MOST_REPEATS,
    NEW,
    NEXT_BUDGET,
    OWN,
    PLAIN,
    PRIVILEGED,
    SILENCE,
    SOON,
    WATCHED,
    Loops,
)

PEER = ("192.0.2.1", 7007)
CLIENT = ("192.0.2.1", 40_000)

Service = Callable[[bytes], bytes]


def echo(datagram: bytes) -> bytes:
    return datagram


def full(_: bytes) -> bytes:
    return b"the desk is full\n"


def upper(datagram: bytes) -> bytes:
    return datagram.upper()


def swap(datagram: bytes) -> bytes:
    return datagram.swapcase()


def clock_of(clock: Clock) -> Service:
    return lambda _: b"%d" % clock.seconds()


def in_a_loop(
    loops: Loops, clock: Clock, ours: Service, theirs: Service, seeds: list[bytes], turnaround: float = 1e-4
) -> int:
    """Return how many answers go to a service, until its loop with ours has ended."""
    first = clock.seconds()
    spread = turnaround / len(seeds)
    flying = deque((first + number * spread, seed) for number, seed in enumerate(seeds))
    answers = 0
    while flying:
        arrives, datagram = flying.popleft()
        clock.advance(arrives - clock.seconds())
        loops.heard(PEER, datagram)
        if loops.may_answer(PEER, answer := ours(datagram)):
            answers += 1
            assert answers < 10_000, "it goes on for ever"
            flying.append((arrives + turnaround, theirs(answer)))
    return answers


@pytest.mark.parametrize("turnaround", [1e-5, 1e-2, 0.2, 1.0, 1.9], ids=lambda each: f"{each:g} s")
@pytest.mark.parametrize(
    "seeds", [[b"a"], [b"a", b"b"], [b"a"] * 15, [b"%d" % n for n in range(15)]], ids=len
)
@pytest.mark.parametrize(
    "services", [(echo, echo), (echo, full), (full, echo), (full, full), (upper, echo), (swap, swap)]
)
def test_a_loop_with_any_other_service_dies_within_a_hundred_answers(
    services: tuple[Service, Service], seeds: list[bytes], turnaround: float
) -> None:
    clock = Clock()
    clock.advance(1000)
    assert in_a_loop(Loops(clock.seconds), clock, *services, seeds, turnaround) < 100


def test_a_loop_with_a_service_that_tells_the_time_dies_too() -> None:
    clock = Clock()
    assert in_a_loop(Loops(clock.seconds), clock, echo, clock_of(clock), [b"?"], 0.01) < 250


def test_a_loop_dies_again_when_it_is_begun_again() -> None:
    clock = Clock()
    loops = Loops(clock.seconds)
    in_a_loop(loops, clock, echo, echo, [b"a"])
    assert in_a_loop(loops, clock, echo, echo, [b"a"]) == 0
    clock.advance(SILENCE)
    assert in_a_loop(loops, clock, echo, echo, [b"a"]) <= NEXT_BUDGET


def test_a_loop_of_more_datagrams_than_can_be_taken_for_one_dies_in_the_next_trial() -> None:
    clock = Clock()
    loops = Loops(clock.seconds)
    seeds = [b"a"] * 2 * MOST_IN_FLIGHT
    assert in_a_loop(loops, clock, echo, echo, seeds) <= FIRST_BUDGET + NEXT_BUDGET + len(seeds)


def answered(loops: Loops, clock: Clock, peer: tuple[str, int], contents: Iterator[bytes], times: int) -> int:
    """Return how many of so many questions are answered to a peer that waits for each answer."""
    kept = 0
    for _ in range(times):
        clock.advance(1e-4)
        datagram = next(contents)
        loops.heard(peer, datagram)
        kept += loops.may_answer(peer, b"answer to " + datagram)
    return kept


def numbers() -> Iterator[bytes]:
    return (b"%d" % number for number in count())


def test_a_client_that_always_asks_for_something_else_is_answered_a_million_times_in_a_row() -> None:
    """Ten thousand questions a second from a port that a service may have, each after the answer before."""
    assert FIRST_BUDGET / NEW > 1_000_000
    clock = Clock()
    assert answered(Loops(clock.seconds), clock, PEER, numbers(), 20_000) == 20_000


def test_a_client_that_goes_on_without_answers_has_shown_that_it_is_no_service() -> None:
    clock = Clock()
    loops = Loops(clock.seconds)
    for _ in range(2 * int(FIRST_BUDGET)):
        clock.advance(0.01)
        loops.heard(PEER, b"ping")
        loops.may_answer(PEER, b"pong")
    assert loops.may_answer(PEER, b"pong")


def test_a_client_that_asks_again_after_a_while_has_shown_that_it_is_no_service() -> None:
    clock = Clock()
    loops = Loops(clock.seconds)
    for _ in range(int(FIRST_BUDGET) + 1):
        loops.heard(PEER, b"ping")
        loops.may_answer(PEER, b"pong")
    assert not loops.may_answer(PEER, b"pong")
    clock.advance(SILENCE)
    loops.heard(PEER, b"ping")
    assert loops.may_answer(PEER, b"pong")


def test_a_client_that_asks_the_same_now_and_then_is_always_answered() -> None:
    clock = Clock()
    loops = Loops(clock.seconds)
    for _ in range(10 * int(FIRST_BUDGET)):
        clock.advance(SILENCE)
        loops.heard(PEER, b"ping")
        assert loops.may_answer(PEER, b"pong")


def test_a_peer_that_hears_much_and_says_little_is_no_service() -> None:
    """A member of a chat that sends a datagram now and then to stay, for example."""
    clock = Clock()
    loops = Loops(clock.seconds)
    for _ in range(100 * int(FIRST_BUDGET)):
        clock.advance(0.1)
        loops.heard(PEER, b"")
        assert all(loops.may_answer(PEER, b"news") for _ in range(3))


def test_each_peer_is_judged_by_itself() -> None:
    clock = Clock()
    loops = Loops(clock.seconds)
    in_a_loop(loops, clock, echo, echo, [b"a"])
    other = ("192.0.2.1", 7008)
    loops.heard(other, b"a")
    assert loops.may_answer(other, b"a")


def test_forged_peers_cannot_fill_the_memory_nor_hide_a_loop_for_longer_than_they_come() -> None:
    clock = Clock()
    loops = Loops(clock.seconds)
    for number in range(2 * MOST_PEERS):
        loops.heard((f"192.0.2.{number}", 7007), b"a")
        loops.look(number, b"a")
    assert len(loops._peers) == MOST_PEERS
    assert len(loops._seen) <= MOST_PEERS
    assert in_a_loop(loops, clock, echo, echo, [b"a"]) < 100


def test_ports_are_told_by_who_can_have_them() -> None:
    loops = Loops(Clock().seconds)
    loops.know_own([7007, 40_000])
    assert loops.kinds[7007] == loops.kinds[40_000] == OWN
    loops.know_own([40_001])
    kinds = [loops.kinds[port] for port in (0, 1023, 1024, 7007, FIRST_DYNAMIC_PORT - 1)]
    assert kinds == [PRIVILEGED, PRIVILEGED, WATCHED, WATCHED, WATCHED]
    assert [loops.kinds[port] for port in (FIRST_DYNAMIC_PORT, 40_000, 40_001, 65_535)] == [
        PLAIN,
        PLAIN,
        OWN,
        PLAIN,
    ]


@pytest.mark.parametrize("peer", [CLIENT, "/run/peer.sock", b"\0peer"])
def test_a_peer_that_repeats_itself_is_watched_after_a_million_datagrams(
    peer: tuple[str, int] | str | bytes,
) -> None:
    assert MOST_REPEATS * LOOK_EVERY > 1_000_000
    loops = Loops(Clock().seconds)
    for _ in range(MOST_REPEATS):
        loops.look(peer, b"x")
    assert not loops.watches(peer)
    loops.look(peer, b"x")
    assert loops.watches(peer)


def test_a_peer_that_sends_new_content_or_seldom_is_never_watched() -> None:
    clock = Clock()
    loops = Loops(clock.seconds)
    for number in range(2 * MOST_REPEATS):
        loops.look(CLIENT, b"%d" % (number % 1000 == 0))
    assert not loops.watches(CLIENT)
    for _ in range(2 * MOST_REPEATS):
        clock.advance(SOON)
        loops.look(CLIENT, b"x")
    assert not loops.watches(CLIENT)
