"""Requests of people in a chat: to enter, to speak, to move between rooms.

Names are one namespace: ASCII letters, digits, `_`, `-` and `.`, compared without regard to case; names of
rooms likewise. A person may be in several rooms. The first room always exists, every other one from its first
member until its last one has left; the numbers of its messages go on where an archive keeps them.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd.text import printable
from sockd_plugins.chat.hub.delivery import Archive, Delivery, Entry
from sockd_plugins.chat.hub.events import (
    Ended,
    Entered,
    Event,
    Gone,
    Joined,
    Kind,
    Left,
    Parted,
    Present,
    Renamed,
    Said,
    Told,
    Unsaid,
)
from sockd_plugins.chat.hub.people import ChatRefused, Membership, Outlet, Person, Room, RoomFacts, Stay
from sockd_plugins.token_bucket import TokenBucket

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


class Hub:
    """Rooms of one chat, and the people in it.

    Args:
        rules: the bounds.
        clock: for rates and for the end of a turn.
        log: gets what could not be stored or delivered.
        archive: store of messages; None if they are kept in memory only.
        now: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        rules: Rules,
        clock: IReactorTime,
        log: Logger,
        archive: Archive | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._log = log
        self._archive = archive
        self._now = now
        self._people: dict[str, Person] = {}
        self._rooms: dict[str, Room] = {}
        self._empty: dict[Room, int] = {}  # rooms without members, each with the place after its last event
        self._delivery = Delivery(
            clock, log, archive, lambda person: self.leave(person, "failed"), self._drop_empty
        )
        self._closed = ""
        self._add_room(rules.room)

    @property
    def first_room(self) -> str:
        """Name of the room that always exists."""
        return self._rules.room

    def enter(
        self,
        name: str,
        outlet: Outlet,
        *,
        room: str = "",
        account: str = "",
        host: str = "-",
        echoes: bool = False,
    ) -> Person:
        """Add a person to the chat; raise `ChatRefused` if that is not possible.

        Args:
            name: its name, which nobody else has.
            outlet: gets what happens.
            room: room that it is in at once, one that exists; empty for none.
            account: account that it has proved; empty for none.
            host: its address.
            echoes: whether its own messages are delivered to it too.
        """
        if self._closed:
            raise ChatRefused("closed", self._closed)
        if len(self._people) >= self._rules.max_members:
            raise ChatRefused("full", f"the chat is full: {self._rules.max_members} members")
        self._check_free(name, None)
        bucket = TokenBucket(self._rules.rate, self._rules.burst, self._clock.seconds)
        person = self._people[_key(name)] = Person(name, outlet, bucket, account, host, echoes)
        if room:
            self._arrive(person, self._rooms[_key(room)])
        return person

    def leave(self, person: Person, reason: str) -> None:
        """Remove a person from the chat; its name is free at once. Whoever has left before is ignored."""
        if person.gone:
            return
        self._delivery.settle()
        person.gone = True
        person.changed = self._delivery.place
        del self._people[_key(person.name)]
        rooms = tuple(person.rooms.values())
        for room in rooms:
            del room.members[person]
        person.rooms.clear()
        if rooms:
            self._delivery.post(Entry(Gone(person.name, self._short(reason)), rooms))
        self._note_empty(*rooms)

    def join(self, person: Person, name: str) -> None:
        """Bring a person into a room, which is created if it does not exist."""
        self._turn(person)
        room = self._rooms.get(_key(name))
        if room is not None and person in room.members:
            raise ChatRefused("in_room_already", f"you are in {room.name} already")
        self._arrive(person, room or self._new_room(name))

    def part(self, person: Person, name: str, reason: str = "") -> None:
        """Bring a person out of a room."""
        room = self._joined(person, name)
        self._depart(person, room, self._short(reason))

    def move(self, person: Person, name: str) -> None:
        """Bring a person into a room, and out of all others."""
        left = tuple(person.rooms.values())
        self.join(person, name)
        for room in left:
            self._depart(person, room, "")

    def say(self, person: Person, name: str, text: str, kind: Kind = "said") -> None:
        """Send a message to the people in a room, once it is stored."""
        room = self._joined(person, name)
        text = self._checked(text)
        if self._delivery.is_full:
            raise ChatRefused("busy", "too much waits to be stored; try again")
        said = Said(room.name, person.name, text, 0, self._now(), kind, person.account)
        self._delivery.post(Entry(said, (room,), None if person.echoes else person, speaker=person))

    async def post(
        self, name: str, room_name: str, text: str, kind: Kind = "notice", account: str = ""
    ) -> Said:
        """Send a message of a program that is in no room; return it once it is stored and delivered.

        The caller bounds the rate.

        Args:
            name: name of the program, which nobody in the chat has.
            room_name: room that exists, or that the archive may have.
            text: the message.
            kind: its kind.
            account: account that the program has proved; empty for none.
        """
        if self._closed:
            raise ChatRefused("closed", self._closed)
        self._check_free(name, None)
        text = self._checked(text)
        if self._delivery.is_full:
            raise ChatRefused("busy", "too much waits to be stored; try again")
        room = self._open_room(room_name)
        said = Said(room.name, name, text, 0, self._now(), kind, account)
        delivered: Deferred[Event] = Deferred()
        self._delivery.post(Entry(said, (room,), delivered=delivered))
        self._note_empty(room)
        event = await delivered
        if isinstance(event, Unsaid):
            raise ChatRefused("not_stored", event.reason)
        assert isinstance(event, Said)  # noqa: S101  # messages become nothing else
        return event

    def tell(self, person: Person, name: str, text: str, kind: Kind = "said") -> Told:
        """Send a message to one person, in whatever room; return it."""
        self._turn(person)
        text = self._checked(text)
        target = self.find(name)
        if target is None:
            raise ChatRefused("no_such_name", "nobody here has that name")
        told = Told(person.name, target.name, text, self._now(), kind, person.account)
        self._hand(target, told)
        return told

    def rename(self, person: Person, name: str) -> None:
        """Give a person another free name, or another spelling of the present one."""
        self._turn(person)
        self._check_free(name, person)
        renamed = Renamed(person.name, name)
        del self._people[_key(person.name)]
        self._people[_key(name)] = person
        person.name = name
        if person.rooms:
            self._delivery.post(Entry(renamed, tuple(person.rooms.values())))
        else:
            self._hand(person, renamed)

    def find(self, name: str) -> Person | None:
        """Return the person with a name."""
        return self._people.get(_key(name))

    def present(self, person: Person, name: str) -> tuple[Present, ...]:
        """Return who is in a room of the person."""
        room = self._joined(person, name)
        return tuple(each.seen_in(room) for each in room.members)

    async def since(self, person: Person, name: str, number: int, limit: int) -> Sequence[Said]:
        """Return the first messages of a room behind a number, at most `limit`, as far as they are kept."""
        return await self._since(self._joined(person, name), number, limit)

    async def _since(self, room: Room, number: int, limit: int) -> Sequence[Said]:
        if number < 0 or (room.said is not None and number > room.said):
            text = f"the last message in {room.name} has the number {room.said or 0}"
            raise ChatRefused("no_such_message", text)
        if self._archive is None or (room.recent and room.recent[0].number <= number + 1):
            return [each for each in room.recent if each.number > number][:limit]
        return await self._read(self._archive.since(room.name, number, limit))

    async def before(self, person: Person, name: str, number: int, limit: int) -> Sequence[Said]:
        """Return the last messages of a room before a number, at most `limit`, the oldest first."""
        room = self._joined(person, name)
        if self._archive is None:
            earlier = [each for each in room.recent if each.number < number]
            return earlier[max(0, len(earlier) - limit) :]
        return await self._read(self._archive.before(room.name, number, limit))

    async def read(self, name: str, number: int, limit: int) -> Sequence[Said]:
        """Return the first messages of a room behind a number, at most `limit`, for those who are in no room.

        The caller bounds the rate.
        """
        room = self._open_room(name)
        self._note_empty(room)
        return await self._since(room, number, limit)

    def rooms(self) -> tuple[RoomFacts, ...]:
        """Return what there is to know of each room."""
        return tuple(
            RoomFacts(room.name, len(room.members), room.said or 0, room.topic)
            for room in self._rooms.values()
        )

    def settle(self) -> None:
        """Deliver what people are owed, unless something has to be stored first."""
        self._delivery.settle()

    def close(self, reason: str) -> None:
        """End the chat for everybody; later newcomers are refused."""
        self._delivery.settle()
        self._closed = reason
        people = tuple(self._people.values())
        self._people.clear()
        self._rooms.clear()
        for person in people:
            person.gone = True
            person.changed = self._delivery.place
            self._hand(person, Ended(reason))
        self._delivery.settle()

    def note_failure(self, failure: Failure) -> None:
        """Write the failure of an adapter's own work to the log."""
        self._log.failure("adapter failed", failure)

    async def finish(self) -> None:
        """Return once everything that is owed has been stored and delivered."""
        await self._delivery.finish()

    async def _read(self, messages: Awaitable[Sequence[Said]]) -> Sequence[Said]:
        try:
            return await messages
        except Exception:  # whatever fails, the person is told and stays
            self._log.failure("history not read")
            raise ChatRefused("unavailable", "the history cannot be read now") from None

    def _turn(self, person: Person) -> None:
        """Count a request against the person's rate."""
        if person.gone:
            raise ChatRefused("closed", "you are not in the chat any more")
        if not person.bucket.take():
            text = f"too fast: what goes beyond {self._rules.rate:g} a second is dropped"
            text, person.told_to_wait = "" if person.told_to_wait else text, True
            raise ChatRefused("too_fast", text)
        person.told_to_wait = False

    def _joined(self, person: Person, name: str) -> Room:
        """Count a request, and return a room of the person."""
        self._turn(person)
        room = person.rooms.get(_key(name))
        if room is None:
            raise ChatRefused("not_in_room", f"you are not in {printable(name)[:64]}")
        return room

    def _checked(self, text: str) -> str:
        text = printable(text)
        if not text or text.isspace():
            raise ChatRefused("no_text", "there is no text to send")
        if (length := len(text.encode())) > (most := self._rules.message_length):
            raise ChatRefused("too_long", f"too long: at most {most} bytes, not {length}")
        return text

    def _check_free(self, name: str, bearer: Person | None) -> None:
        self._check_name(name)
        if self._people.get(_key(name), bearer) is not bearer:
            raise ChatRefused("taken", f"the name {name} is taken")

    def _check_name(self, name: str) -> None:
        if len(name) > self._rules.name_length or not _NAME.fullmatch(name):
            raise ChatRefused("bad_name", f"a name is 1 to {self._rules.name_length} of A-Z a-z 0-9 _ . -")

    def _open_room(self, name: str) -> Room:
        """Return a room for those who are in none: one that exists, or that the archive may have."""
        room = self._rooms.get(_key(name))
        if room is None and self._archive is None:
            raise ChatRefused("no_such_room", f"there is no room {printable(name)[:64]}")
        return room or self._new_room(name)

    def _new_room(self, name: str) -> Room:
        self._check_name(name)
        if len(self._rooms) >= self._rules.max_rooms:
            raise ChatRefused("too_many_rooms", f"there are {self._rules.max_rooms} rooms already")
        return self._add_room(name)

    def _add_room(self, name: str) -> Room:
        said = 0 if self._archive is None else None
        room = self._rooms[_key(name)] = Room(name, deque(maxlen=self._rules.history), said)
        return room

    def _arrive(self, person: Person, room: Room) -> None:
        others = tuple(other.seen_in(room) for other in room.members)
        self._delivery.post(Entry(Joined(room.name, person.name, person.account), (room,)))
        person.changed = self._delivery.place
        membership = room.members[person] = Membership(person.changed)
        person.rooms[_key(room.name)] = room
        entered = Entered(room.name, person.name, others, (), room.topic, membership.rank)
        self._delivery.post(Entry(entered, (room,), only=person))

    def _depart(self, person: Person, room: Room, reason: str) -> None:
        membership = room.members.pop(person)
        del person.rooms[_key(room.name)]
        person.changed = self._delivery.place
        self._delivery.remember(room, Stay(person, membership.since, person.changed))
        self._delivery.post(Entry(Left(room.name, person.name, reason), (room,)))
        self._hand(person, Parted(room.name, person.name, reason))
        self._note_empty(room)

    def _note_empty(self, *rooms: Room) -> None:
        """Note rooms without members, which are dropped once their last events are delivered."""
        for room in rooms:
            if not room.members and room.name != self._rules.room:
                self._empty[room] = self._delivery.place
        self._drop_empty()

    def _drop_empty(self) -> None:
        for room, place in tuple(self._empty.items()):
            if room.members:
                del self._empty[room]
            elif self._delivery.delivered >= place:
                del self._empty[room]
                self._rooms.pop(_key(room.name), None)

    def _short(self, text: str) -> str:
        return printable(text)[: self._rules.message_length]

    def _hand(self, person: Person, event: Event) -> None:
        """Owe an event to one person alone."""
        self._delivery.post(Entry(event, only=person))


def _key(name: str) -> str:
    """Return what all spellings of a name have in common; names are ASCII."""
    return name.lower()
