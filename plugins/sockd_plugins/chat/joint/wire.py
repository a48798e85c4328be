"""Wire format between processes: one JSON object for each message, deed, person and room.

Another process may be of another version, and what it sends is checked: `NotUnderstood` for all that cannot
be used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, get_args

from sockd.text import printable
from sockd_plugins.chat.hub.charter import FLAGS, LISTS, Charter
from sockd_plugins.chat.hub.events import (
    Change,
    Invited,
    Kind,
    ModeSet,
    Rank,
    Redacted,
    Removed,
    Said,
    Told,
    Topic,
    TopicSet,
)
from sockd_plugins.chat.hub.exchange import Deed
from sockd_plugins.chat.hub.masks import Mask
from sockd_plugins.chat.hub.people import Person, Room

_DEEDS: Mapping[str, type[Deed | Redacted]] = {
    "topic": TopicSet,
    "modes": ModeSet,
    "removed": Removed,
    "invited": Invited,
    "told": Told,
    "redacted": Redacted,
}


class NotUnderstood(Exception):
    """Fault of what another process has sent."""


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotUnderstood(f"{type(error).__name__}: {error}") from error


def _encoded(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _decoded(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _kind(word: str) -> Kind:
    if word not in get_args(Kind):
        raise ValueError(f"the kind {word[:20]}")
    return word  # type: ignore[return-value]  # it is one of them


def encode_said(said: Said, count: int) -> bytes:
    """Return a message; `count` is its number among those of this process."""
    value = {"n": said.name, "t": said.text, "a": said.at, "k": said.kind, "c": said.account, "i": count}
    return _encoded(value)


def decode_said(data: bytes, room: str, number: int) -> tuple[Said, int]:
    """Return a message with its number, and its number among those of its process."""
    with _understood():
        found = _decoded(data)
        name, text, account = (printable(str(found[key])) for key in "ntc")
        said = Said(room, name, text, number, float(found["a"]), _kind(found["k"]), account)
        return said, int(found["i"])


def encode_deed(deed: Deed | Redacted) -> bytes:
    """Return a deed."""
    word = next(word for word, kind in _DEEDS.items() if isinstance(deed, kind))
    return _encoded({"do": word, **asdict(deed)})


def decode_deed(data: bytes) -> Deed | Redacted:
    """Return a deed."""
    with _understood():
        found = _decoded(data)
        text = {key: printable(value) for key, value in found.items() if isinstance(value, str)}
        match text["do"]:
            case "topic":
                return TopicSet(text["room"], text["name"], text["text"], float(found["at"]))
            case "modes":
                changes = tuple(map(_change, found["changes"]))
                return ModeSet(text["room"], text["by"], changes)
            case "removed":
                return Removed(text["room"], text["name"], text["by"], text["reason"])
            case "invited":
                return Invited(text["room"], text["name"], text["by"])
            case "told":
                at, kind = float(found["at"]), _kind(text["kind"])
                return Told(text["name"], text["to"], text["text"], at, kind, text["account"])
            case "redacted":
                return Redacted(text["room"], int(found["number"]), text["by"], text["reason"])
            case unknown:
                raise ValueError(f"the deed {unknown[:20]}")


def _change(value: Mapping[str, Any]) -> Change:
    return Change(bool(value["adds"]), printable(str(value["mode"])), printable(str(value["argument"])))


def encode_person(person: Person, former: str = "") -> bytes:
    """Return a person with its rooms; `former` is the name that it had until now."""
    rooms = {room.name: room.members[person].rank for room in person.rooms.values()}
    value = {
        "n": person.name,
        "c": person.account,
        "h": person.host,
        "w": person.away,
        "e": person.entered_at,
        "r": rooms,
        "f": former,
    }
    return _encoded(value)


class Shown:
    """Person of another process, as that describes it."""

    def __init__(self, data: bytes) -> None:
        with _understood():
            found = _decoded(data)
            self.name, self.account, self.host, self.away, self.former = (
                printable(str(found[key])) for key in "nchwf"
            )
            self.entered_at = float(found["e"])
            self.ranks: dict[str, Rank] = {str(name): _rank(rank) for name, rank in found["r"].items()}


def _rank(word: str) -> Rank:
    if word not in get_args(Rank):
        raise ValueError(f"the rank {word[:20]}")
    return word  # type: ignore[return-value]  # it is one of them


def encode_room(room: Room) -> bytes:
    """Return who may do what in a room, and its topic."""
    charter, topic = room.charter, room.topic
    lists = {
        letter: [[mask.text, by] for mask, by in masks.items()]
        for letter, masks in charter.lists.items()
        if masks
    }
    value = {
        "n": room.name,
        "t": [topic.text, topic.name, topic.at] if topic else [],
        "f": "".join(sorted(charter.flags)),
        "k": charter.key,
        "l": charter.limit,
        "m": lists,
    }
    return _encoded(value)


def decode_room(data: bytes) -> tuple[str, Charter, Topic | None]:
    """Return a room's name, who may do what there, and its topic."""
    with _understood():
        found = _decoded(data)
        charter = Charter(flags={flag for flag in str(found["f"]) if flag in FLAGS})
        charter.key, charter.limit = str(found["k"]), int(found["l"])
        for letter in LISTS:
            for text, by in found["m"].get(letter, ()):
                if (mask := Mask.read(str(text))) is not None:
                    charter.lists.setdefault(letter, {})[mask] = str(by)
        topic = None
        if found["t"]:
            text, by, at = found["t"]
            topic = Topic(printable(str(text)), printable(str(by)), float(at))
        return printable(str(found["n"])), charter, topic
