"""Requests of operators and owners: topic, modes, removal, invitation.

Each takes a room that the person is in, and whose request is counted already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sockd.text import printable
from sockd_plugins.chat.hub.charter import RANKS
from sockd_plugins.chat.hub.delivery import Delivery, Entry
from sockd_plugins.chat.hub.events import (
    Change,
    Invited,
    ModeSet,
    Topic,
    TopicSet,
)
from sockd_plugins.chat.hub.people import Person, Room
from sockd_plugins.chat.hub.refused import ChatRefused

MOST_CHANGES = 6
"""Changes of modes in one request; others want to read them in one line."""

MOST_INVITED = 20
"""Rooms that a person can be invited to at once; the oldest invitation ends."""


class Moderation:
    """Changes of rooms by their operators.

    Args:
        delivery: tells people of changes.
        find: returns the person with a name.
        now: returns the time in seconds since 1970.
        on_modes: called with a room whose modes have changed.
    """

    def __init__(
        self,
        delivery: Delivery,
        find: Callable[[str], Person | None],
        now: Callable[[], float],
        on_modes: Callable[[Room], None],
    ) -> None:
        self._delivery = delivery
        self._find = find
        self._now = now
        self._on_modes = on_modes

    def set_topic(self, person: Person, room: Room, text: str) -> None:
        """Set the topic of a room; an empty text takes it away."""
        if "t" in room.charter.flags:
            check_operator(person, room)
        at = self._now()
        room.topic = Topic(text, person.name, at) if text else None
        room.charter.on_change()
        self._tell(TopicSet(room.name, person.name, text, at), room)

    def set_modes(self, person: Person, room: Room, changes: Sequence[Change]) -> None:
        """Change modes of a room, all that are possible up to the first that is not.

        Raises:
            ChatRefused: one is not possible; those before it are made.
        """
        check_operator(person, room)
        if len(changes) > MOST_CHANGES:
            raise ChatRefused("too_many", f"at most {MOST_CHANGES} modes are changed at once")
        done: list[Change] = []
        try:
            for change in changes:
                ranked = change.mode in RANKS
                made = self._rank(room, change) if ranked else room.charter.apply(change, person.name)
                if made is not None:
                    done.append(made)
        finally:
            if done:
                room.charter.on_change()
                self._on_modes(room)
                self._tell(ModeSet(room.name, person.name, tuple(done)), room)

    def invite(self, person: Person, room: Room, name: str) -> str:
        """Invite somebody into a room; return the name as it is spelt."""
        if "i" in room.charter.flags:
            check_operator(person, room)
        target = self._find(name)
        if target is None:
            raise ChatRefused("no_such_name", "nobody here has that name")
        if target in room.members:
            raise ChatRefused("in_room_already", f"{target.name} is in {room.name} already")
        target.invited.pop(room, None)
        while len(target.invited) >= MOST_INVITED:
            del target.invited[next(iter(target.invited))]
        target.invited[room] = None
        self._delivery.post(Entry(Invited(room.name, target.name, person.name), only=target))
        return target.name

    def to_remove(self, person: Person, room: Room, name: str) -> Person:
        """Return the member of a room whom a person may remove."""
        check_operator(person, room)
        return self._member(room, name)

    def _rank(self, room: Room, change: Change) -> Change | None:
        rank, target = RANKS[change.mode], self._member(room, change.argument)
        membership = room.members[target]
        if change.adds == (membership.rank == rank) or (change.adds and membership.rank == "operator"):
            return None
        if not change.adds and membership.rank != rank:
            return None
        membership.rank = rank if change.adds else ""
        return Change(change.adds, change.mode, target.name)

    def _member(self, room: Room, name: str) -> Person:
        target = self._find(name)
        if target is None or target not in room.members:
            raise ChatRefused("no_such_member", f"{printable(name)[:64]} is not in {room.name}")
        return target

    def _tell(self, event: TopicSet | ModeSet, room: Room) -> None:
        self._delivery.post(Entry(event, (room,)))


def check_operator(person: Person, room: Room) -> None:
    """Check that a person is an operator of a room; raise `ChatRefused` if it is not."""
    if room.members[person].rank != "operator":
        raise ChatRefused("not_operator", f"only operators of {room.name} may do that")
