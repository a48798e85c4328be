"""Memberships: people come into rooms and leave them, and everybody inside is told."""

from __future__ import annotations

from collections.abc import Callable

from sockd_plugins.chat.hub.delivery import Delivery, Entry
from sockd_plugins.chat.hub.events import Change, Entered, Gone, Joined, Left, ModeSet, Parted, Rank, Removed
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Membership, Person, Room, Stay
from sockd_plugins.chat.hub.rooms import Rooms


class Memberships:
    """Changes of who is where.

    Args:
        rooms: dropped when they are empty.
        delivery: tells people.
        changed: told of each person whose rooms or ranks have changed.
    """

    def __init__(self, rooms: Rooms, delivery: Delivery, changed: Callable[[Person], None]) -> None:
        self._rooms = rooms
        self._delivery = delivery
        self._changed = changed

    def arrive(self, person: Person, room: Room, rank: Rank | None = None) -> None:
        """Bring a person into a room.

        Args:
            person: who enters.
            room: the room.
            rank: rank of the person; None to find it: an owner, or the first one, is an operator.
        """
        others = tuple(other.seen_in(room) for other in room.members)
        self._delivery.post(Entry(Joined(room.name, person.name, person.account), (room,)))
        person.changed = self._delivery.place
        if rank is None:
            is_first = not room.members and not room.charter.is_kept
            rank = "operator" if is_first or room.charter.is_owner(person) else ""
        room.members[person] = Membership(person.changed, rank)
        person.rooms[fold(room.name)] = room
        person.invited.pop(room, None)
        entered = Entered(room.name, person.name, others, (), room.topic, rank, person.account)
        self._delivery.post(Entry(entered, (room,), only=person))
        if rank and others:
            self.tell_of_rank(person, room, person)
        self._changed(person)

    def note(self, person: Person) -> None:
        """Note that a person has another rank in a room."""
        self._changed(person)

    def tell_of_rank(self, person: Person, room: Room, but: Person | None) -> None:
        """Tell the people in a room that a person has a rank there."""
        letter = "o" if room.members[person].rank == "operator" else "v"
        made = ModeSet(room.name, "", (Change(True, letter, person.name),))
        self._delivery.post(Entry(made, (room,), but))

    def depart(self, person: Person, room: Room, reason: str) -> None:
        """Bring a person out of a room."""
        self._take_out(person, room)
        self._delivery.post(Entry(Left(room.name, person.name, reason), (room,)))
        self._delivery.post(Entry(Parted(room.name, person.name, reason), only=person))
        self.note_empty(room)

    def remove(self, person: Person, room: Room, removed: Removed) -> None:
        """Bring a person out of a room whom an operator removes; it reads that, too."""
        self._delivery.post(Entry(removed, (room,)))
        self._take_out(person, room)
        self.note_empty(room)

    def leave(self, person: Person, reason: str) -> None:
        """Bring a person out of all rooms, and out of the chat."""
        self._delivery.settle()
        person.gone = True
        person.changed = self._delivery.place
        person.invited.clear()
        rooms = tuple(person.rooms.values())
        for room in rooms:
            del room.members[person]
        person.rooms.clear()
        if rooms:
            self._delivery.post(Entry(Gone(person.name, reason), rooms))
        for room in rooms:
            self.note_empty(room)

    def note_empty(self, room: Room) -> None:
        """Drop a room if it is empty, once its last events are delivered."""
        self._rooms.note_empty(room, self._delivery.place)
        self.drop_empty()

    def drop_empty(self) -> None:
        """Drop the rooms that are empty, and whose last events are delivered."""
        self._rooms.drop_empty(self._delivery.delivered)

    def _take_out(self, person: Person, room: Room) -> None:
        """End a membership: what happened before is still delivered."""
        membership = room.members.pop(person)
        del person.rooms[fold(room.name)]
        person.changed = self._delivery.place
        self._delivery.remember(room, Stay(person, membership.since, person.changed))
        self._changed(person)
