"""What members of a chat are told. Each text in it is printable, in one line and of bounded length."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """Somebody spoke to the room."""

    room: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """Somebody spoke to one member alone, across rooms."""

    name: str
    to: str
    text: str


@dataclass(frozen=True, slots=True)
class Entered:
    """For the member itself: where it is now, who else is there, and what was said last."""

    room: str
    name: str
    others: tuple[str, ...]
    recent: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody else came into the room."""

    room: str
    name: str


@dataclass(frozen=True, slots=True)
class Left:
    """Somebody else went: into another room, or with a reason out of the chat."""

    room: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """Somebody in the room, perhaps the member itself, has a new name."""

    room: str
    name: str
    new_name: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The chat is over for the member: it is in no room any more, and its name is free."""

    reason: str


Event = Said | Told | Entered | Joined | Left | Renamed | Ended
