"""Rooms, members and events of a chat, independent of transport and wire format.

A member is in exactly one room. Names are one namespace: ASCII letters, digits, `_`, `-` and `.`, compared
without regard to case; names of rooms likewise. The first room always exists, every other one from its first
member to its last. All members of a room get its events in the same order.

Events of a room are delivered at the end of the reactor's turn, all at once, so that a busy room costs each
member one write. Whatever concerns a member alone, and each change of who is in the room, is delivered after
the events that came before it.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sockd.text import printable
from sockd_plugins.chat.events import Batch, Ended, Entered, Event, Joined, Left, Renamed, Said, Told
from sockd_plugins.token_bucket import TokenBucket

MOST_OWED = 128
"""Events of a room that are delivered at once at most: members that do not read are noticed between them."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds of a chat; the options of `Chat` describe them."""

    room: str
    max_members: int
    max_rooms: int
    name_length: int
    message_length: int
    history: int
    rate: float
    burst: int


class Outlet(Protocol):
    """Receiver of a member's events: all that the hub knows of a transport."""

    def deliver(self, batch: Batch) -> None:
        """Take events at once; the hub does not wait."""


class ChatRefused(Exception):
    """Refusal of a member's request. The text tells the reason; an empty text: the member has been told
    already.
    """


@dataclass(slots=True, eq=False)
class Room:
    """Members of a room, its last messages, and the events that its members are owed.

    Attributes:
        recent: last messages, as many as the rules keep.
        said: number of the last message; 0 before the first.
        owed: events of this turn, each with the member that does not get it, if there is one.
    """

    name: str
    recent: deque[Said]
    members: dict[str, Member] = field(default_factory=dict)
    said: int = 0
    owed: list[tuple[Event, Member | None]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Member:
    """Member of the chat; its room is None once it has left."""

    name: str
    outlet: Outlet
    bucket: TokenBucket
    room: Room | None = None
    told_to_wait: bool = False


class Hub:
    """Rooms of one chat.

    Args:
        rules: the bounds.
        clock: for rates and for the end of a turn.
        log: gets the failures of deliveries.
    """

    def __init__(self, rules: Rules, clock: IReactorTime, log: Logger) -> None:
        self._rules = rules
        self._clock = clock
        self._log = log
        self._members: dict[str, Member] = {}
        self._first_room = Room(rules.room, deque(maxlen=rules.history))
        self._rooms = {_key(rules.room): self._first_room}
        self._owing: dict[Room, None] = {}  # rooms with events that are owed, the first one first
        self._turn_ends = False  # whether a call for the end of the turn is on its way
        self._delivering = False
        self._closed = ""

    def enter(self, name: str, outlet: Outlet) -> Member:
        """Add a member to the first room; raise `ChatRefused` if that is not possible."""
        if self._closed:
            raise ChatRefused(self._closed)
        if len(self._members) >= self._rules.max_members:
            raise ChatRefused(f"the chat is full: {self._rules.max_members} members")
        self._check_free(name, None)
        bucket = TokenBucket(self._rules.rate, self._rules.burst, self._clock.seconds)
        member = self._members[_key(name)] = Member(name, outlet, bucket)
        self._arrive(member, self._first_room)
        return member

    def has(self, name: str) -> bool:
        """Tell whether a member has the name."""
        return _key(name) in self._members

    def join(self, member: Member, name: str) -> None:
        """Move a member into another room, which is created if it does not exist."""
        present = self._turn(member)
        room = self._rooms.get(_key(name)) or self._new_room(name)
        if room is present:
            raise ChatRefused(f"you are in {room.name} already")
        self._depart(member, present, "")
        self._arrive(member, room)

    def say(self, member: Member, text: str) -> Said:
        """Send a message to the others in the room; return it for the speaker's own protocol."""
        room = self._turn(member)
        said = Said(room.name, member.name, self._checked(text), room.said + 1)
        room.said += 1
        room.recent.append(said)
        self._post(room, said, but=member)
        return said

    def tell(self, member: Member, name: str, text: str) -> Told:
        """Send a message to one member, in any room."""
        self._turn(member)
        text = self._checked(text)
        target = self._members.get(_key(name))
        if target is None:
            raise ChatRefused("nobody here has that name")
        told = Told(member.name, target.name, text)
        self._hand(target, told)
        return told

    def rename(self, member: Member, name: str) -> None:
        """Give a member another free name, or another spelling of the present one."""
        room = self._turn(member)
        self._check_free(name, member)
        renamed = Renamed(room.name, member.name, name)
        for names in (self._members, room.members):
            del names[_key(member.name)]
            names[_key(name)] = member
        member.name = name
        self._post(room, renamed)

    def since(self, member: Member, number: int) -> tuple[Said, ...]:
        """Return the messages of the member's room behind a number, as far as they are kept."""
        room = self._turn(member)
        if number < 0 or number > room.said:
            raise ChatRefused(f"the last message in {room.name} has the number {room.said}")
        return tuple(said for said in room.recent if said.number > number)

    def company(self, member: Member) -> tuple[str, tuple[str, ...]]:
        """Return the member's room and the names of all members in it."""
        room = self._turn(member)
        return room.name, tuple(each.name for each in room.members.values())

    def settle(self, member: Member) -> None:
        """Deliver what the members of its room are owed, before the member alone is told something."""
        if member.room is not None:
            self._deliver(member.room)

    def leave(self, member: Member, reason: str) -> None:
        """Remove a member; its name is free at once. A member that has left before is ignored."""
        if member.room is not None:
            del self._members[_key(member.name)]
            self._depart(member, member.room, reason)

    def close(self, reason: str) -> None:
        """End the chat for all members; later newcomers are refused."""
        self._deliver_all()
        self._closed = reason
        members = tuple(self._members.values())
        self._members.clear()
        self._rooms.clear()
        for member in members:
            member.room = None
        for member in members:
            self._hand(member, Ended(reason))

    def _turn(self, member: Member) -> Room:
        """Return the member's room; each call counts against its rate."""
        if member.room is None:
            raise ChatRefused("you are not in the chat any more")
        if not member.bucket.take():
            if member.told_to_wait:
                raise ChatRefused
            member.told_to_wait = True
            raise ChatRefused(f"too fast: what goes beyond {self._rules.rate:g} a second is dropped")
        member.told_to_wait = False
        return member.room

    def _checked(self, text: str) -> str:
        text = printable(text)
        if not text or text.isspace():
            raise ChatRefused("there is no text to send")
        if (length := len(text.encode())) > self._rules.message_length:
            raise ChatRefused(f"too long: at most {self._rules.message_length} bytes, not {length}")
        return text

    def _check_free(self, name: str, bearer: Member | None) -> None:
        self._check_name(name)
        if self._members.get(_key(name), bearer) is not bearer:
            raise ChatRefused(f"the name {name} is taken")

    def _check_name(self, name: str) -> None:
        if len(name) > self._rules.name_length or not _NAME.fullmatch(name):
            raise ChatRefused(f"a name is 1 to {self._rules.name_length} of A-Z a-z 0-9 _ . -")

    def _new_room(self, name: str) -> Room:
        self._check_name(name)
        if len(self._rooms) >= self._rules.max_rooms:
            raise ChatRefused(f"there are {self._rules.max_rooms} rooms already")
        return Room(name, deque(maxlen=self._rules.history))

    def _arrive(self, member: Member, room: Room) -> None:
        self._deliver(room)
        names = tuple(other.name for other in room.members.values())
        self._post(room, Joined(room.name, member.name), but=member)
        self._rooms[_key(room.name)] = room
        room.members[_key(member.name)] = member
        member.room = room
        self._tell(member, Entered(room.name, member.name, names, tuple(room.recent)))

    def _depart(self, member: Member, room: Room, reason: str) -> None:
        self._deliver(room)
        del room.members[_key(member.name)]
        member.room = None
        if not room.members and room is not self._first_room:
            del self._rooms[_key(room.name)]
        self._post(room, Left(room.name, member.name, reason))

    def _post(self, room: Room, event: Event, but: Member | None = None) -> None:
        """Owe an event to the members of a room, perhaps but for one, at the end of the turn."""
        room.owed.append((event, but))
        self._owing[room] = None
        if len(room.owed) >= MOST_OWED:
            self._deliver(room)
        self._await_end_of_turn()

    def _await_end_of_turn(self) -> None:
        if self._owing and not self._turn_ends and not self._delivering:
            self._turn_ends = True
            self._clock.callLater(0, self._end_turn)

    def _end_turn(self) -> None:
        self._turn_ends = False
        self._deliver_all()

    def _deliver_all(self) -> None:
        for room in tuple(self._owing):
            self._deliver(room)

    def _deliver(self, room: Room) -> None:
        """Deliver what a room's members are owed. What deliveries cause comes in the next turn."""
        if not room.owed or self._delivering:
            return
        owed, room.owed = room.owed, []
        del self._owing[room]
        batch = Batch([event for event, _ in owed])
        own: dict[Member, set[int]] = {}
        for place, (_, but) in enumerate(owed):
            if but is not None:
                own.setdefault(but, set()).add(place)
        self._delivering = True
        try:
            for member in tuple(room.members.values()):
                due = batch.without(own[member]) if member in own else batch
                # A delivery to another member may have ended this one.
                if member.room is room and due is not None and not self._give(member, due):
                    self._end_failed(member)
        finally:
            self._delivering = False
        self._await_end_of_turn()

    def _hand(self, member: Member, event: Event) -> None:
        """Deliver an event to one member at once, after what it is owed."""
        self.settle(member)
        self._tell(member, event)

    def _tell(self, member: Member, event: Event) -> None:
        if not self._give(member, Batch([event])) and member.room is not None:
            self._end_failed(member)

    def _end_failed(self, member: Member) -> None:
        self.leave(member, "failed")
        self._give(member, Batch([Ended("what you were to be told could not be delivered")]))

    def _give(self, member: Member, batch: Batch) -> bool:
        try:
            member.outlet.deliver(batch)
        except Exception:  # one member's failure must not stop the delivery to the others
            self._log.failure("member_failed", member=member.name)
            return False
        return True


def _key(name: str) -> str:
    """Return what all spellings of a name have in common; names are ASCII."""
    return name.lower()
