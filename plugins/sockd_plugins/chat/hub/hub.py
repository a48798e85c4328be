"""Requests of people in a chat: to enter, to speak, to move between rooms.

Names of people are one namespace, names of rooms another (`names`). A person may be in several rooms. The
first room and those that are configured always exist, every other one from its first member, who is its
operator, until its last one has left; the numbers of its messages go on when it exists again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd.text import printable
from sockd_plugins.chat.hub.delivery import Archive, Delivery, Entry
from sockd_plugins.chat.hub.elsewhere import Elsewhere
from sockd_plugins.chat.hub.events import (
    AccountSet,
    AwaySet,
    Change,
    Ended,
    Event,
    Kind,
    Marked,
    Present,
    Renamed,
    Said,
    Told,
)
from sockd_plugins.chat.hub.exchange import Alone, Deed, Exchange, Joint
from sockd_plugins.chat.hub.facts import PersonFacts, facts_of_person, facts_of_room, is_known
from sockd_plugins.chat.hub.memberships import Memberships
from sockd_plugins.chat.hub.moderation import Moderation
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Outlet, Person, Room, RoomFacts
from sockd_plugins.chat.hub.programs import Programs
from sockd_plugins.chat.hub.reading import Reading
from sockd_plugins.chat.hub.record import Record
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.register import Keeper, Register, no_keeper
from sockd_plugins.chat.hub.rooms import Rooms
from sockd_plugins.chat.hub.rules import RoomRules, Rules
from sockd_plugins.token_bucket import TokenBucket


class Hub:
    """Rooms of one chat, and the people in it.

    Args:
        rules: the bounds.
        clock: for rates and for the end of a turn.
        log: gets what could not be stored or delivered.
        archive: store of messages; None if they are kept in memory only.
        now: returns the time in seconds since 1970.
        keeper: tells which names belong to accounts.
        joint: joins this process with others that serve the same chat; None if there are none.
    """

    def __init__(
        self,
        rules: Rules,
        clock: IReactorTime,
        log: Logger,
        archive: Archive | None = None,
        now: Callable[[], float] = time.time,
        keeper: Keeper = no_keeper,
        joint: Joint | None = None,
    ) -> None:
        self._rules, self._clock, self._log, self._now = rules, clock, log, now
        self.people = Register(rules.name_length, keeper)
        self._rooms = Rooms(rules.max_rooms, rules.history, archive is not None, now())
        self._rooms.keep({rules.room: RoomRules(), **rules.rooms})
        self._delivery = Delivery(
            clock, log, archive, lambda person: self.leave(person, "failed"), self._drop_empty
        )
        self._reading = Reading(archive, log)
        self._memberships = Memberships(self._rooms, self._delivery, self._note_change)
        moderation = Moderation(self._delivery, self._rooms, self.find, self._memberships, now, self._do)
        self.record = Record(archive, self._rooms, self._delivery, self._joined)
        others = Elsewhere(
            self.people, self._rooms, self._memberships, self._delivery, moderation, self.record
        )
        self._exchange: Exchange = (
            Alone(self._delivery, moderation.happen) if joint is None else joint(others)
        )
        self._programs = Programs(
            self.people, self._rooms, self._exchange, self._delivery, self._reading, now
        )
        self._moderation = moderation
        self.record.exchange = self._exchange
        self._closed = ""

    @property
    def first_room(self) -> str:
        """Name of the room that always exists."""
        return self._rules.room

    @property
    def is_stored(self) -> bool:
        """True if messages are stored, so that their numbers go on after a restart."""
        return self._rooms.stored

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
            host: its address, which nobody is shown.
            echoes: whether its own messages are delivered to it too.
        """
        if self._closed:
            raise ChatRefused("closed", self._closed)
        if len(self.people) >= self._rules.max_members:
            raise ChatRefused("full", f"the chat is full: {self._rules.max_members} members")
        self._exchange.check_entry()
        self.people.check(name, "", account)
        bucket, now = TokenBucket(self._rules.rate, self._rules.burst, self._clock.seconds), self._now()
        cloak = self.people.cloaks.of(host)
        person = Person(name, outlet, bucket, account, cloak, echoes, entered_at=now, spoke_at=now)
        there = self._rooms.find(room) if room else None
        if there is not None:
            there.charter.check_entry(person, "", len(there.members), invited=False)
        self.people.add(person)
        if there is not None:
            self._memberships.arrive(person, there)
        self._exchange.changed(person)
        return person

    def leave(self, person: Person, reason: str) -> None:
        """Remove a person from the chat; its name is free at once. Whoever has left before is ignored."""
        if person.gone:
            return
        self.people.remove(person)
        self._memberships.leave(person, self._short(reason))
        self._exchange.gone(person)

    def join(self, person: Person, name: str, key: str = "") -> None:
        """Bring a person into a room, which is created if it does not exist; a room may ask for a key."""
        self.turn(person)
        room = self._rooms.find(name)
        if room is None:
            self.people.check_form(name)
            self._exchange.check_reach()
            room = self._rooms.make(name)
        elif person in room.members:
            raise ChatRefused("in_room_already", f"you are in {room.name} already")
        room.charter.check_entry(person, key, len(room.members), room in person.invited)
        self._memberships.arrive(person, room)

    def part(self, person: Person, name: str, reason: str = "") -> None:
        """Bring a person out of a room."""
        room = self._joined(person, name)
        self._memberships.depart(person, room, self._short(reason))

    def move(self, person: Person, name: str, key: str = "") -> None:
        """Bring a person into a room, and out of all others."""
        left = tuple(person.rooms.values())
        self.join(person, name, key)
        for room in left:
            self._memberships.depart(person, room, "")

    def say(self, person: Person, name: str, text: str, kind: Kind = "said") -> None:
        """Send a message to the people in a room, once it is stored."""
        room = self._joined(person, name)
        text = self._rules.checked(text)
        room.charter.check_speech(room.members[person].rank)
        if self._delivery.is_full:
            raise ChatRefused("busy", "too much waits to be stored; try again")
        person.spoke_at = now = self._now()
        said = Said(room.name, person.name, text, 0, now, kind, person.account)
        self._exchange.say(said, room, person, None)

    async def post(
        self, name: str, room_name: str, text: str, kind: Kind = "notice", account: str = "", key: str = ""
    ) -> Said:
        """Send a message of a program, as `Programs.post` does."""
        if self._closed:
            raise ChatRefused("closed", self._closed)
        return await self._programs.post(name, room_name, self._rules.checked(text), kind, account, key)

    async def read(
        self, name: str, number: int, limit: int, account: str = "", key: str = ""
    ) -> Sequence[Said]:
        """Return the first messages of a room behind a number, as `Programs.read` does."""
        return await self._programs.read(name, number, limit, account, key)

    def tell(self, person: Person, name: str, text: str, kind: Kind = "said") -> Told:
        """Send a message to one person, in whatever room; return it."""
        self.turn(person)
        text = self._rules.checked(text)
        target = self.find(name)
        if target is None:
            raise ChatRefused("no_such_name", "nobody here has that name")
        person.spoke_at = now = self._now()
        told = Told(person.name, target.name, text, now, kind, person.account)
        self._exchange.do(told)
        return told

    def rename(self, person: Person, name: str) -> None:
        """Give a person another free name, or another spelling of the present one."""
        self.turn(person)
        self.people.check(name, person.name, person.account)
        renamed = Renamed(person.name, name)
        self.people.rename(person, name)
        self._tell_acquainted(person, renamed)
        self._exchange.changed(person)

    def log_in(self, person: Person, account: str) -> None:
        """Note that a person has proved an account; empty: none any more."""
        self.turn(person)
        person.account = account
        self._tell_acquainted(person, AccountSet(person.name, account))
        for room in person.rooms.values():
            if room.charter.is_owner(person):
                room.members[person].rank = "operator"
                self._memberships.tell_of_rank(person, room, None)
        self._exchange.changed(person)

    def set_away(self, person: Person, text: str) -> None:
        """Note that a person is away, with a text for those who write to it; empty: it is back."""
        self.turn(person)
        person.away = self._short(text)
        self._tell_acquainted(person, AwaySet(person.name, person.away))
        self._exchange.changed(person)

    def set_topic(self, person: Person, name: str, text: str) -> None:
        """Set the topic of a room of the person; an empty text takes it away."""
        room = self._joined(person, name)
        self._moderation.set_topic(person, room, self._rules.checked(text) if text.strip() else "")

    def set_modes(self, person: Person, name: str, changes: Sequence[Change]) -> None:
        """Change modes of a room of the person, all that are possible up to the first that is not."""
        self._moderation.set_modes(person, self._joined(person, name), changes)

    def invite(self, person: Person, name: str, other: str) -> str:
        """Invite somebody into a room of the person; return that name as it is spelt."""
        return self._moderation.invite(person, self._joined(person, name), other)

    def remove(self, person: Person, name: str, other: str, reason: str = "") -> None:
        """Remove somebody from a room of the person."""
        room = self._joined(person, name)
        self._moderation.remove(person, room, other, self._short(reason))

    def find(self, name: str) -> Person | None:
        """Return the person with a name."""
        return self.people.find(name)

    def kept_rooms(self) -> tuple[Room, ...]:
        """Return the rooms that exist without people, too."""
        return self._rooms.kept()

    def find_room(self, name: str, person: Person | None = None) -> Room | None:
        """Return a room that a person, or somebody outside the chat, may know of."""
        room = self._rooms.find(name)
        return room if room is not None and is_known(room, person) else None

    def rooms(self, person: Person | None = None) -> tuple[RoomFacts, ...]:
        """Return the rooms that a person, or somebody outside the chat, may know of."""
        return tuple(facts_of_room(room, person) for room in self._rooms if is_known(room, person))

    def whois(self, person: Person, name: str) -> PersonFacts:
        """Return what a person may know about another one."""
        self.turn(person)
        target = self.find(name)
        if target is None:
            raise ChatRefused("no_such_name", "nobody here has that name")
        return facts_of_person(target, person, self._now())

    def present(self, person: Person, name: str) -> tuple[Present, ...]:
        """Return who is in a room of the person."""
        room = self._joined(person, name)
        return tuple(each.seen_in(room) for each in room.members)

    def mark(self, person: Person, token: str, name: str = "") -> None:
        """Deliver `Marked` after all that happened up to now, with the last number of a room."""
        self.turn(person)
        rooms = [room for room in person.rooms.values() if room.name == name]
        self._delivery.post(Entry(Marked(token, name if rooms else ""), tuple(rooms), only=person))

    async def since(self, person: Person, name: str, number: int, limit: int) -> Sequence[Said]:
        """Return the first messages of a room behind a number, at most `limit`, as far as they are kept."""
        return await self._reading.since(person, self._joined(person, name), number, limit)

    async def before(self, person: Person, name: str, number: int, limit: int) -> Sequence[Said]:
        """Return the last messages of a room before a number, at most `limit`, the oldest first."""
        return await self._reading.before(person, self._joined(person, name), number, limit)

    async def place(self, person: Person, name: str, at: float) -> tuple[int, int]:
        """Return the numbers of a room's last message before a time, and of the first one after it."""
        return await self._reading.place(self._joined(person, name), at)

    def settle(self) -> None:
        """Deliver what people are owed, unless something has to be stored first."""
        self._delivery.settle()

    def close(self, reason: str) -> None:
        """End the chat for everybody; later newcomers are refused."""
        self._delivery.settle()
        self._closed = reason
        people = self.people.clear()
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

    def _do(self, deed: Deed) -> None:
        self._exchange.do(deed)

    def _note_change(self, person: Person) -> None:
        if not person.elsewhere:
            self._exchange.changed(person)

    def _drop_empty(self) -> None:
        self._memberships.drop_empty()

    def turn(self, person: Person) -> None:
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
        self.turn(person)
        room = person.rooms.get(fold(name))
        if room is None:
            raise ChatRefused("not_in_room", f"you are not in {printable(name)[:64]}")
        return room

    def _tell_acquainted(self, person: Person, event: Event) -> None:
        """Owe an event to everybody who shares a room with a person, and to the person itself."""
        if person.rooms:
            self._delivery.post(Entry(event, tuple(person.rooms.values())))
        else:
            self._hand(person, event)

    def _short(self, text: str) -> str:
        return printable(text)[: self._rules.message_length]

    def _hand(self, person: Person, event: Event) -> None:
        """Owe an event to one person alone."""
        self._delivery.post(Entry(event, only=person))
