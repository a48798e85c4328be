"""Requests of operators and owners: topic, modes, removal, invitation.

Each takes a room that the person is in, and whose request is counted already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from sockd.text import printable
from sockd_plugins.chat.hub.charter import RANKS
from sockd_plugins.chat.hub.delivery import Delivery, Entry
from sockd_plugins.chat.hub.events import (
    Change,
    Invited,
    ModeSet,
    Removed,
    Told,
    Topic,
    TopicSet,
)
from sockd_plugins.chat.hub.exchange import Deed
from sockd_plugins.chat.hub.memberships import Memberships
from sockd_plugins.chat.hub.people import Person, Room
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.rooms import Rooms

MOST_CHANGES = 6
"""Changes of modes in one request; others want to read them in one line."""

MOST_INVITED = 20
"""Rooms that a person can be invited to at once; the oldest invitation ends."""


class Moderation:
    """Changes of rooms by their operators.

    Args:
        delivery: tells people of changes.
        rooms: of the chat.
        find: returns the person with a name.
        memberships: ended by those who may.
        now: returns the time in seconds since 1970.
        do: lets a deed happen, here and wherever else the chat is served.
    """

    def __init__(
        self,
        delivery: Delivery,
        rooms: Rooms,
        find: Callable[[str], Person | None],
        memberships: Memberships,
        now: Callable[[], float],
        do: Callable[[Deed], None],
    ) -> None:
        self._delivery = delivery
        self._rooms = rooms
        self._find = find
        self._memberships = memberships
        self._now = now
        self._do = do

    def set_topic(self, person: Person, room: Room, text: str) -> None:
        """Set the topic of a room; an empty text takes it away."""
        if "t" in room.charter.flags:
            check_operator(person, room)
        self._do(TopicSet(room.name, person.name, text, self._now()))

    def set_modes(self, person: Person, room: Room, changes: Sequence[Change]) -> None:
        """Change modes of a room, all that are possible up to the first that is not.

        Raises:
            ChatRefused: one is not possible; those before it are made.
        """
        check_operator(person, room)
        if len(changes) > MOST_CHANGES:
            raise ChatRefused("too_many", f"at most {MOST_CHANGES} modes are changed at once")
        charter = room.charter.copy()
        possible: list[Change] = []
        try:
            for change in changes:
                if change.mode in RANKS:
                    possible.append(replace(change, argument=self._member(room, change.argument).name))
                elif charter.apply(change, person.name) is not None:
                    possible.append(change)
        finally:
            if possible:
                self._do(ModeSet(room.name, person.name, tuple(possible)))

    def invite(self, person: Person, room: Room, name: str) -> str:
        """Invite somebody into a room; return the name as it is spelt."""
        if "i" in room.charter.flags:
            check_operator(person, room)
        target = self._find(name)
        if target is None:
            raise ChatRefused("no_such_name", "nobody here has that name")
        if target in room.members:
            raise ChatRefused("in_room_already", f"{target.name} is in {room.name} already")
        self._do(Invited(room.name, target.name, person.name))
        return target.name

    def remove(self, person: Person, room: Room, name: str, reason: str) -> None:
        """Remove a member of a room."""
        check_operator(person, room)
        self._do(Removed(room.name, self._member(room, name).name, person.name, reason))

    def happen(self, deed: Deed) -> None:
        """Let a deed happen that somebody was allowed to do, as far as it is possible still."""
        if isinstance(deed, Told):
            self._tell_person(deed, deed.to)
            return
        room = self._rooms.find(deed.room)
        if room is None:
            return
        match deed:
            case TopicSet(_, name, text, at):
                room.topic = Topic(text, name, at) if text else None
                room.charter.on_change()
                self._delivery.post(Entry(deed, (room,)))
            case ModeSet():
                self._change_modes(room, deed)
            case Invited():
                self._invite(room, deed)
            case Removed():
                target = self._find(deed.name)
                if target is not None and target in room.members:
                    self._memberships.remove(target, room, deed)

    def _change_modes(self, room: Room, deed: ModeSet) -> None:
        done: list[Change] = []
        for change in deed.changes:
            with suppress(ChatRefused):
                ranked = change.mode in RANKS
                made = self._rank(room, change) if ranked else room.charter.apply(change, deed.by)
                if made is not None:
                    done.append(made)
        if done:
            room.charter.on_change()
            self._rooms.note_modes(room)
            self._delivery.post(Entry(ModeSet(room.name, deed.by, tuple(done)), (room,)))

    def _invite(self, room: Room, deed: Invited) -> None:
        target = self._find(deed.name)
        if target is None or target in room.members:
            return
        target.invited.pop(room, None)
        while len(target.invited) >= MOST_INVITED:
            del target.invited[next(iter(target.invited))]
        target.invited[room] = None
        self._tell_person(deed, deed.name)

    def _tell_person(self, event: Told | Invited, name: str) -> None:
        target = self._find(name)
        if target is not None and not target.elsewhere:
            self._delivery.post(Entry(event, only=target))

    def _rank(self, room: Room, change: Change) -> Change | None:
        rank, target = RANKS[change.mode], self._member(room, change.argument)
        membership = room.members[target]
        if change.adds == (membership.rank == rank) or (change.adds and membership.rank == "operator"):
            return None
        if not change.adds and membership.rank != rank:
            return None
        membership.rank = rank if change.adds else ""
        self._memberships.note(target)
        return Change(change.adds, change.mode, target.name)

    def _member(self, room: Room, name: str) -> Person:
        target = self._find(name)
        if target is None or target not in room.members:
            raise ChatRefused("no_such_member", f"{printable(name)[:64]} is not in {room.name}")
        return target


def check_operator(person: Person, room: Room) -> None:
    """Check that a person is an operator of a room; raise `ChatRefused` if it is not."""
    if room.members[person].rank != "operator":
        raise ChatRefused("not_operator", f"only operators of {room.name} may do that")
