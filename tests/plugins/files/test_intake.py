from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockd.plugin import Sink
from sockd_plugins.files.storage.aligned import address
from sockd_plugins.files.storage.direct import BLOCK
from sockd_plugins.files.stream.inbox import Inbox
from sockd_plugins.files.stream.intake import Intake
from sockd_plugins.files.stream.pool import SIZE, Pool

WINDOW = 1 << 20


class Reading:
    """Transport that can read into buffers, and an intake on it."""

    sink: Sink | None = None

    def __init__(self, pool: Pool) -> None:
        self.inbox = Inbox()
        self.arrived = 0
        self.intake = Intake(self, pool, self.inbox, self.count)

    def count(self, size: int) -> None:
        self.arrived += size

    def reads_into(self, sink: Sink | None) -> bool:
        self.sink = sink
        return sink is not None

    def receive(self, data: bytes) -> None:
        """Read as a reactor does: as much as there is room for."""
        rest = memoryview(data)
        while rest:
            space = None if self.sink is None else self.sink.space()
            if self.sink is None or space is None:
                self.inbox.append(bytes(rest))
                self.arrived += len(rest)
                return
            size = min(len(space), len(rest))
            space[:size] = rest[:size]
            self.sink.filled(size)
            rest = rest[size:]


def data(size: int, start: int) -> bytes:
    return bytes((start + number) % 251 for number in range(size))


DATA = data(1 << 19, 0) * 24


@settings(max_examples=40)
@given(
    reads=st.lists(st.sampled_from([1, 700, 5000, 200_000, 900_000, 2_000_000]), max_size=6),
    start=st.integers(0, 2 * BLOCK),
    buffers=st.integers(0, 3),
    rests=st.booleans(),
)
def test_whatever_the_reads_are_the_bytes_come_in_order_and_fit_their_place(
    reads: list[int], start: int, buffers: int, rests: bool
) -> None:
    reading = Reading(Pool(buffers * SIZE))
    sent = taken = 0
    lent: list[Any] = []  # what was taken last is still in use
    for size in reads:
        window = WINDOW - (start + taken) % BLOCK
        reading.intake.expect(window)
        reading.receive(DATA[sent : sent + size])
        sent += size
        if rests:
            reading.intake.rest()
        pieces = reading.inbox.take(reading.intake.portion(window))
        for piece in pieces:
            assert piece == DATA[taken : taken + len(piece)]
            if isinstance(piece, memoryview) and not piece.readonly:
                assert (address(piece) - start - taken) % BLOCK == 0
            taken += len(piece)
        lent = pieces
    assert reading.arrived == sent == taken + len(reading.inbox)
    del lent


def test_windows_that_are_read_ahead_become_whole_buffers() -> None:
    """However the first window lies, the later ones are a piece each."""
    reading = Reading(Pool(4 * SIZE))
    reading.receive(bytes(5 * WINDOW // 4))
    counts, taken = [], 0
    for _ in range(6):
        window = SIZE - taken % BLOCK
        reading.intake.expect(window)
        reading.receive(bytes(SIZE))
        pieces = reading.inbox.take(reading.intake.portion(window))
        taken += sum(map(len, pieces))
        counts.append(len(pieces))
    assert counts[-3:] == [1, 1, 1]


def test_a_peer_of_which_little_is_expected_has_no_buffer() -> None:
    pool = Pool(SIZE)
    reading = Reading(pool)
    reading.intake.expect(WINDOW // 2)
    assert reading.sink is None
    reading.intake.expect(WINDOW)
    reading.receive(b"first")
    assert pool.take() is None
    reading.intake.expect(0)
    assert reading.sink is None
    assert reading.inbox.take(5) == [b"first"]
    assert pool.take() is not None


def test_a_peer_that_rests_leaves_its_buffer_once_that_is_written() -> None:
    pool = Pool(SIZE)
    reading = Reading(pool)
    reading.intake.expect(WINDOW)
    reading.receive(b"first")
    reading.intake.rest()
    taken = reading.inbox.take(5)
    reading.receive(b"second")
    assert reading.inbox.take(6) == [b"second"]
    assert taken == [b"first"]
    assert pool.take() is None
    del taken
    assert pool.take() is not None


def test_a_buffer_is_kept_for_those_who_take_more_and_freed_after_them() -> None:
    pool = Pool(2 * SIZE)
    pool.enter()
    first = pool.take()
    assert first is not None
    place = address(first)
    del first
    again = pool.take()
    assert again is not None
    assert address(again) == place
    del again
    pool.leave()
    assert not pool._idle
    assert pool.take() is not None
    assert not pool._idle


def test_a_buffer_is_not_taken_while_a_view_of_it_is_left() -> None:
    pool = Pool(SIZE)
    pool.enter()
    buffer = pool.take()
    assert buffer is not None
    view = buffer[100:200][5:]
    del buffer
    assert pool.take() is None
    del view
    assert pool.take() is not None


def test_a_small_memory_has_no_buffers() -> None:
    assert Pool(SIZE - 1).size == 0
    assert Pool(SIZE - 1).take() is None


@pytest.mark.parametrize("wanted", [WINDOW, 0])
def test_an_intake_that_ends_is_freed_at_once(wanted: int) -> None:
    reading = Reading(Pool(SIZE))
    owner = Reading(Pool(SIZE))
    owner.intake = Intake(reading, Pool(SIZE), Inbox(), owner.count)
    owner.intake.expect(wanted)
    owner.intake.end()
    found = weakref.ref(owner)
    gc.disable()
    try:
        del owner
        assert found() is None
    finally:
        gc.enable()
