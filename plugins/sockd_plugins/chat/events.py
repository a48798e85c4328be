"""Events for the members of a chat. Each text in them is printable, in one line and of bounded length."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Said:
    """Message to the room.

    Attributes:
        number: counts the messages of the room from 1, without a gap.
    """

    room: str
    name: str
    text: str
    number: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Told:
    """Message to one member alone, in any room."""

    name: str
    to: str
    text: str


@dataclass(frozen=True, slots=True)
class Entered:
    """Entry of the member itself: its room, the other members, and the last messages."""

    room: str
    name: str
    others: tuple[str, ...]
    recent: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """Entry of another member into the room."""

    room: str
    name: str


@dataclass(frozen=True, slots=True)
class Left:
    """Exit of another member: to another room, or with a reason out of the chat."""

    room: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """New name of a member of the room, perhaps of the member itself."""

    room: str
    name: str
    new_name: str


@dataclass(frozen=True, slots=True)
class Ended:
    """End of the chat for the member: it is in no room any more, and its name is free."""

    reason: str


Event = Said | Told | Entered | Joined | Left | Renamed | Ended

Form = Callable[[Event], bytes]
"""Encoding of an event for members of one kind."""


class Batch:
    """Events that a member is owed, in order; encoded once for all members of a kind.

    Args:
        events: at least one.
    """

    __slots__ = ("_encoded", "_parts", "events")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self._parts: dict[Form, list[bytes]] = {}
        self._encoded: dict[Form, bytes] = {}

    @property
    def end(self) -> Ended | None:
        """End of the chat for the member, if that is what happens."""
        return event if isinstance(event := self.events[-1], Ended) else None

    def encoded(self, form: Form) -> bytes:
        """Return all events in a form."""
        data = self._encoded.get(form)
        if data is None:
            data = self._encoded[form] = b"".join(self._encode(form))
        return data

    def without(self, places: Collection[int]) -> Batch | None:
        """Return the events but for those at these places; None if none is left."""
        kept = [place for place in range(len(self.events)) if place not in places]
        return _Part(self, kept) if kept else None

    def _encode(self, form: Form) -> list[bytes]:
        parts = self._parts.get(form)
        if parts is None:
            parts = self._parts[form] = [form(event) for event in self.events]
        return parts


class _Part(Batch):
    """Part of a batch, which encodes nothing again."""

    __slots__ = ("_places", "_whole")

    def __init__(self, whole: Batch, places: Sequence[int]) -> None:
        super().__init__([whole.events[place] for place in places])
        self._whole = whole
        self._places = places

    def _encode(self, form: Form) -> list[bytes]:
        parts = self._whole._encode(form)
        return [parts[place] for place in self._places]
