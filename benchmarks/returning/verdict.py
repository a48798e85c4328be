"""Comparison of what everybody got with what the room keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.returning.person import Person
from benchmarks.returning.record import Message


def faults(kept: Mapping[int, Message], people: Sequence[Person]) -> list[str]:
    """Return what is wrong; nothing if nobody has missed or doubled a message.

    Args:
        kept: messages of the room by number, as somebody reads them afterwards.
        people: all at the end of their last visit.
    """
    found = [fault for person in people for fault in person.record.faults]
    missing = set(range(1, len(kept) + 1)) - set(kept)
    if missing:
        found.append(f"the room has no {sorted(missing)[:5]}")
    numbers: dict[Message, int] = {}
    for number, message in sorted(kept.items()):
        if message in numbers:
            found.append(f"{message} is {numbers[message]} and {number}")
        numbers[message] = number
    for person in people:
        record = person.record
        lost = [text for text, number in record.own.items() if kept.get(number) != (record.name, text)]
        if lost:
            found.append(f"{record.name}: acknowledged, and not kept: {lost[:5]}")
        wrong = [number for number, message in record.got.items() if kept.get(number) != message]
        if wrong:
            found.append(f"{record.name}: others than are kept: {sorted(wrong)[:5]}")
        absent = [number for number in kept if number > record.first and number not in record.got]
        if absent:
            found.append(f"{record.name} ({person.kind}) missed {len(absent)}: {sorted(absent)[:5]}")
    return found
