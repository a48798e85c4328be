"""Events for the members of a chat. Each text in them is printable, in one line and of bounded length."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """Message to the room."""

    room: str
    name: str
    text: str


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
