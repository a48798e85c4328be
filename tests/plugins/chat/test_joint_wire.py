"""Messages between the processes of a chat: each comes back as it was; else it is not understood."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd_plugins.chat.hub.charter import Charter
from sockd_plugins.chat.hub.events import (
    Change,
    Invited,
    ModeSet,
    Redacted,
    Removed,
    Said,
    Told,
    Topic,
    TopicSet,
)
from sockd_plugins.chat.hub.exchange import Deed
from sockd_plugins.chat.hub.people import Membership, Person, Room
from sockd_plugins.chat.joint.wire import (
    NotUnderstood,
    Shown,
    decode_deed,
    decode_room,
    decode_said,
    encode_deed,
    encode_person,
    encode_room,
    encode_said,
)


def room(name: str = "ops", **changes: Any) -> Room:
    return Room(name, deque(maxlen=20), **changes)


def test_a_message_comes_back_with_its_number() -> None:
    said = Said("ops", "ann", "hällo", 0, 1.5, "action", "ann")
    assert decode_said(encode_said(said, 7), "Ops", 12) == (
        Said("Ops", "ann", "hällo", 12, 1.5, "action", "ann"),
        7,
    )


@pytest.mark.parametrize(
    "deed",
    [
        TopicSet("ops", "ann", "pagers", 2.5),
        ModeSet("ops", "ann", (Change(True, "b", "eve*"), Change(False, "t"))),
        Removed("ops", "bob", "ann", "out"),
        Invited("ops", "bob", "ann"),
        Told("ann", "bob", "psst", 3.5, "notice", "ann"),
        Redacted("ops", 17, "ann", "private"),
    ],
)
def test_a_deed_comes_back(deed: Deed) -> None:
    assert decode_deed(encode_deed(deed)) == deed


def test_a_person_comes_back_with_its_rooms() -> None:
    ops = room("Ops")
    person = Person("Ann", None, None, "ann", "10.0.0.1", away="lunch", entered_at=4.5)  # type: ignore[arg-type]
    ops.members[person] = Membership(0, "operator")
    person.rooms["ops"] = ops
    shown = Shown(encode_person(person, "anna"))
    assert (shown.name, shown.account, shown.host, shown.away) == ("Ann", "ann", "10.0.0.1", "lunch")
    assert (shown.ranks, shown.former, shown.entered_at) == ({"Ops": "operator"}, "anna", 4.5)


def test_a_room_comes_back_with_all_that_rules_it() -> None:
    charter = Charter()
    for change in (
        Change(True, "i"),
        Change(True, "k", "word"),
        Change(True, "l", "5"),
        Change(True, "b", "eve*"),
    ):
        charter.apply(change, "ann")
    name, decoded, topic = decode_room(encode_room(room(topic=Topic("pagers", "ann", 6.5), charter=charter)))
    assert (name, topic) == ("ops", Topic("pagers", "ann", 6.5))
    assert decoded.shown(to_member=True) == charter.shown(to_member=True)
    assert list(decoded.listed("b")) == list(charter.listed("b"))
    assert decode_room(encode_room(room()))[2] is None


def test_control_characters_of_another_process_are_replaced() -> None:
    said = decode_said(encode_said(Said("ops", "a\x1b", "b\x1b[2J", 0, 0.0), 1), "ops", 1)[0]
    assert "\x1b" not in said.name + said.text


READERS: list[Callable[[bytes], object]] = [
    lambda data: decode_said(data, "ops", 1),
    decode_deed,
    Shown,
    decode_room,
]


STRANGE = [
    *(b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"do":"topic"}'),
    b'{"do":"modes","room":"a","by":"b","changes":[1]}',
    b'{"n":"a","t":"b","c":"","k":"shout","a":1,"i":1}',
    b'{"n":"a","c":"","h":"","w":"","f":"","e":1,"r":{"a":"king"}}',
    b'{"n":"a","t":[1],"f":"","k":"","l":0,"m":{}}',
    b'{"n":"a","t":[],"f":"","k":"","l":"x","m":{}}',
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("data", STRANGE)
def test_anything_else_is_not_understood(reader: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(NotUnderstood):
        reader(data)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ntakcihwferlmdo"), inner),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["n", "t", "a", "k", "c", "i", "h", "w", "f", "e", "r", "l", "m"]), values
    )
)
def test_any_object_is_read_or_not_understood(value: dict[str, Any]) -> None:
    for reader in READERS:
        with suppress(NotUnderstood):
            reader(json.dumps(value).encode())
