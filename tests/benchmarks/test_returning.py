from __future__ import annotations

from random import Random

from benchmarks.returning.person import Person
from benchmarks.returning.record import Message, Record
from benchmarks.returning.verdict import faults
from benchmarks.returning.wire import Wire

KEPT: dict[int, Message] = {1: ("ann", "ann 1"), 2: ("bob", "bob 1"), 3: ("ann", "ann 2")}


async def never(*_: object) -> Wire:
    raise AssertionError


def ann() -> Person:
    """Return a person who has got everything from the second message on."""
    person = Person("ann", "line", never, Random(1))
    person.record.come_in(1)
    person.record.take(2, *KEPT[2])
    person.record.take(3, *KEPT[3])
    person.record.own["ann 2"] = 3
    return person


def test_whoever_got_everything_since_the_first_entry_has_missed_nothing() -> None:
    assert faults(KEPT, [ann()]) == []


def test_what_is_missing_doubled_or_lost_is_a_fault() -> None:
    assert faults({**KEPT, 4: ("bob", "bob 2")}, [ann()]) == ["ann (line) missed 1: [4]"]
    [gap, *_] = faults({1: KEPT[1], 3: KEPT[3]}, [])
    assert gap == "the room has no [2]"
    [double] = faults({**KEPT, 4: KEPT[2]}, [])
    assert double == "('bob', 'bob 1') is 2 and 4"
    lost = ann()
    lost.record.own["ann 2"] = 2
    assert "ann: acknowledged, and not kept: ['ann 2']" in faults(KEPT, [lost])
    other = ann()
    other.record.got[2] = ("bob", "bob 9")
    assert "ann: others than are kept: [2]" in faults(KEPT, [other])


def test_a_number_that_comes_again_is_the_same_message() -> None:
    record = Record("ann")
    record.take(1, "bob", "hello")
    record.take(1, "bob", "hello")
    assert not record.faults
    record.take(1, "bob", "other")
    assert record.faults


def test_messages_that_come_in_any_order_fill_the_gaps() -> None:
    record = Record("ann")
    record.come_in(7)
    for number in (10, 9):
        record.take(number, "bob", f"bob {number}")
    assert record.reached == 7
    record.take(8, "bob", "bob 8")
    assert record.reached == 10
