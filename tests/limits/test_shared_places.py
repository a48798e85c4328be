"""Places that several processes count together."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockd.config.written import Rate
from sockd.limits import Admission, SharedPlaces, Terms

SEATS = 4
HOME = b"\x7f\0\0\1"


@pytest.fixture
def seats() -> Iterator[list[SharedPlaces]]:
    memory = SharedPlaces.create(SEATS)
    taken = [SharedPlaces(os.dup(memory), seat) for seat in range(SEATS)]
    yield taken
    for each in taken:
        each.close()
    os.close(memory)


def test_the_total_is_that_of_all_seats(seats: list[SharedPlaces]) -> None:
    assert [seats[number % SEATS].take(6) for number in range(7)] == [None] * 6 + ["max_connections"]
    seats[1].give()
    assert seats[3].take(6) is None
    assert seats[0].take(6) == "max_connections"


@pytest.mark.parametrize("most", [1, 7, 8, 9, 12, 13, 100, 1000])
def test_exactly_as_many_come_in_as_may_near_the_limit_and_far_from_it(
    seats: list[SharedPlaces], most: int
) -> None:
    admitted = sum(seats[number % SEATS].take(most) is None for number in range(most + 50))
    assert admitted == seats[0].total == most


def test_a_source_is_counted_over_all_seats(seats: list[SharedPlaces]) -> None:
    taken = [seats[number % SEATS].take(100, HOME, 3) for number in range(4)]
    assert taken == [None, None, None, "max_per_source"]
    assert (seats[0].count(HOME), seats[0].total) == (3, 3)
    assert seats[0].take(100, HOME[:3] + b"\2", 3) is None
    seats[2].give(HOME)
    assert seats[0].take(100, HOME, 3) is None


def test_places_of_a_dead_process_are_given_back(seats: list[SharedPlaces]) -> None:
    for seat in (1, 1, 2):
        seats[seat].take(100, HOME, 9)
    seats[0].forget(1)
    assert (seats[0].total, seats[0].count(HOME)) == (1, 1)


def test_places_of_many_dead_processes_are_given_back_wherever_they_are(seats: list[SharedPlaces]) -> None:
    sources = [bytes((10, 0, *divmod(number, 256))) for number in range(5000)]
    for number, source in enumerate(sources):
        assert seats[1 + number % 2].take(10_000, source, 9) is None
    seats[0].forget(1)
    assert [seats[3].count(source) for source in sources] == [number % 2 for number in range(5000)]
    seats[0].forget(2)
    assert not any(seats[3].count(source) for source in sources)


def test_to_give_back_what_a_dead_one_held_takes_no_room(seats: list[SharedPlaces]) -> None:
    seats[1].take(100, HOME, 9)
    before = os.fstat(seats[0].descriptor).st_blocks
    seats[0].forget(1)
    assert os.fstat(seats[0].descriptor).st_blocks == before


def test_memory_that_nobody_counts_in_any_more_is_let_go() -> None:
    descriptor = SharedPlaces.create(SEATS)
    places = SharedPlaces(descriptor, 1)
    admission = Admission(Terms(max_connections=1, max_per_source=1))
    admission.share(places)
    del places
    assert stat.S_ISREG(os.fstat(descriptor).st_mode)
    admission.leave()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_seat_that_is_stopped_within_the_lock_makes_the_others_refuse_and_not_wait(
    seats: list[SharedPlaces],
) -> None:
    code = (
        "import os, sys\nfrom sockd.limits import SharedPlaces\n"
        "places = SharedPlaces(int(sys.argv[1]), 3)\nplaces._lock()\nprint(flush=True)\nsys.stdin.read()\n"
    )
    descriptor = seats[3].descriptor
    with subprocess.Popen(
        [sys.executable, "-c", code, str(descriptor)],
        pass_fds=[descriptor],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert seats[1].take(3) == "max_connections"
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert seats[1].take(3) is None


def test_processes_that_are_killed_at_any_moment_leave_no_place_taken(seats: list[SharedPlaces]) -> None:
    code = (
        "import sys\nfrom sockd.limits import SharedPlaces\n"
        "places = SharedPlaces(int(sys.argv[1]), int(sys.argv[2]))\nprint(flush=True)\n"
        "source = bytes([127, 0, 0, 1])\n"
        "while True:\n    if places.take(5, source, 4) is None:\n        places.give(source)\n"
    )
    descriptor = seats[0].descriptor
    for _ in range(3):
        others = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(descriptor), str(seat)],
                pass_fds=[descriptor],
                stdout=subprocess.PIPE,
            )
            for seat in (1, 2, 3)
        ]
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
            other.stdout.close()
        for _ in range(2000):
            assert seats[0].total <= 5
        for seat, other in enumerate(others, 1):
            other.kill()
            other.wait()
            seats[0].forget(seat)
    assert (seats[0].total, seats[0].count(HOME)) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from([None, *"abc"]))))
@settings(max_examples=200)
def test_admission_of_several_processes_is_that_of_one(steps: list[tuple[int, bool, str | None]]) -> None:
    hosts = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "2001:db8::1", None: None}
    terms = Terms(max_connections=6, max_per_source=3)
    memory = SharedPlaces.create(SEATS)
    several = [Admission(terms) for _ in range(3)]
    tables = [SharedPlaces(os.dup(memory), seat) for seat in (1, 2, 3)]
    for admission, table in zip(several, tables, strict=True):
        admission.share(table)
    one = Admission(terms)
    held: list[tuple[int, str | None]] = []
    for which, coming, name in steps:
        if coming:
            reason = several[which].admit(hosts[name])
            assert reason == one.admit(hosts[name])
            if reason is None:
                held.append((which, name))
        elif held:
            which, name = held.pop(0)
            several[which].release(hosts[name])
            one.release(hosts[name])
        assert tables[0].total == one.open
    for table in tables:
        table.close()
    os.close(memory)


def test_a_rate_that_is_used_up_gives_the_place_back(seats: list[SharedPlaces]) -> None:
    places = Admission(Terms(max_connections=5, connection_rate=Rate(1, 60.0)), lambda: 0.0)
    places.share(seats[1])
    assert [places.admit(None), places.admit(None)] == [None, "connection_rate"]
    assert seats[0].total == 1


def test_a_waiting_process_looks_again_as_another_one_may_give_a_place_back(
    seats: list[SharedPlaces],
) -> None:
    places = Admission(Terms(max_connections=1))
    places.share(seats[1])
    assert places.has_room()
    seats[2].take(1)
    assert not places.has_room()
    assert 0 < places.seconds_until_room() < 1
