"""Facts about rooms and people, as one person may learn them."""

from __future__ import annotations

from dataclasses import dataclass

from sockd_plugins.chat.hub.events import Rank
from sockd_plugins.chat.hub.people import Person, Room, RoomFacts


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """Facts about a person.

    Attributes:
        rooms: those that the person who asks may know of, with the rank in each.
        entered_at: time at which it entered the chat, in seconds since 1970.
        idle: seconds since its last message.
    """

    name: str
    account: str
    host: str
    away: str
    rooms: tuple[tuple[str, Rank], ...]
    entered_at: float
    idle: float


def is_known(room: Room, person: Person | None) -> bool:
    """Tell whether a person, or somebody outside the chat, may know of a room."""
    return "s" not in room.charter.flags or person in room.members


def facts_of_room(room: Room, person: Person | None) -> RoomFacts:
    """Return what a person, or somebody outside the chat, may know about a room."""
    return RoomFacts(room.name, len(room.members), room.said or 0, room.topic, person in room.members)


def facts_of_person(target: Person, person: Person, now: float) -> PersonFacts:
    """Return what a person may know about another one."""
    rooms = tuple(
        (room.name, room.members[target].rank) for room in target.rooms.values() if is_known(room, person)
    )
    idle = max(0.0, now - target.spoke_at)
    return PersonFacts(target.name, target.account, target.host, target.away, rooms, target.entered_at, idle)
