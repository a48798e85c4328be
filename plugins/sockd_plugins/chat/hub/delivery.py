"""Delivery of events, in one order for all.

Events are collected for a turn of the reactor and delivered at its end, all at once, so that a busy room
costs each person one write. Where messages are stored, they are delivered once they are: what anybody sees,
survives a crash. Whatever happens meanwhile is stored and delivered together, after it (group commit).

Each event has a place, and whoever is in a room from one place to another is delivered what happens between
them. The entry of a person is an event of its own, delivered in the same order: the messages that it comes
with are those that were delivered before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.events import Ended, Entered, Event, Marked, Said, Unsaid
from sockd_plugins.chat.hub.people import Person, Room, Stay

MOST_OWED = 128
"""Events of a turn that are delivered at once at most: people who do not read are noticed between them."""

MOST_STORED = 1024
"""Events that are delivered at once at most, after a wait for the disk."""

FAILURE_PERIOD = 60.0
"""Seconds between two events of the log about messages that cannot be stored for the same reason."""

MOST_WAITING = 10_000
"""Events that wait for the disk at most; what is said beyond is refused."""


class NotStored(Exception):
    """Failure of the archive to store messages. The text tells people the reason."""


class Archive(Protocol):
    """Store of messages, as far as the hub needs it."""

    async def latest(self, room: str, limit: int) -> tuple[int, Sequence[Said]]:
        """Return the number of a room's last message, 0 for none, and the last messages, at most `limit`."""

    async def keep(self, said: Sequence[Said]) -> None:
        """Store messages; return once they survive a crash.

        Raises:
            NotStored: none of them is stored.
        """

    async def search(self, text: str, room: str, limit: int, before: int | None = None) -> Sequence[Said]:
        """Return the last messages of a room with all words of a text, at most `limit`, the newest first.

        Args:
            text: words as a person writes them.
            room: name of the room.
            limit: messages at most.
            before: number that their numbers are below; None for all.

        Raises:
            ValueError: there is no word in the text; the text of the error tells people.
        """

    async def redact(self, room: str, number: int) -> bool:
        """Remove the text of a message; return False if there is no such message.

        Raises:
            NotStored: it is not removed.
        """

    def note_closed(self, room: str) -> None:
        """Note that not everybody may enter a room from now on."""

    def note_open(self, room: str) -> None:
        """Hide what was said in a room while it was closed: it is open now, or has ended."""

    async def since(self, room: str, number: int, limit: int) -> Sequence[Said]:
        """Return the first `limit` messages of a room behind a number."""

    async def before(self, room: str, number: int, limit: int) -> Sequence[Said]:
        """Return the last `limit` messages of a room before a number, the oldest first."""

    async def place(self, room: str, at: float) -> tuple[int, int]:
        """Return the numbers of the last message before a time, and of the first one after it."""


@dataclass(slots=True, eq=False)
class Entry:
    """Event with its audience: the people in `rooms`, perhaps but for one; or one person.

    Attributes:
        speaker: who is told if a message cannot be stored.
        delivered: gets the event once it has been delivered, or what took its place.
    """

    event: Event
    rooms: tuple[Room, ...] = ()
    but: Person | None = None
    only: Person | None = None
    speaker: Person | None = None
    delivered: Deferred[Event] | None = None


class Delivery:
    """Events of a chat on their way to people.

    Args:
        clock: for the end of a turn.
        log: gets what could not be stored or delivered.
        archive: store of messages; None if they are not stored.
        remove: removes a person to whom nothing can be delivered.
        on_delivered: called after each delivery.

    Attributes:
        delivered: place of the first event that is not delivered.
    """

    def __init__(
        self,
        clock: IReactorTime,
        log: Logger,
        archive: Archive | None,
        remove: Callable[[Person], None],
        on_delivered: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._log = log
        self._archive = archive
        self._remove = remove
        self._on_delivered = on_delivered
        self._owed: list[Entry] = []
        self.delivered = 0
        self._under_way = 0  # events that are being stored or delivered
        self._turn_ends = False  # whether a call for the end of the turn is on its way
        self._stays: dict[Room, None] = {}  # rooms with past memberships
        self._waiting: list[Deferred[None]] = []
        self._failure, self._failed_at = "", 0.0

    @property
    def place(self) -> int:
        """Place of the next event."""
        return self.delivered + self._under_way + len(self._owed)

    @property
    def is_full(self) -> bool:
        """True while so much waits for the disk that nothing more should be said."""
        return len(self._owed) >= MOST_WAITING

    def post(self, entry: Entry) -> None:
        """Owe an event to its audience."""
        self._owed.append(entry)
        self._await_end_of_turn()

    def remember(self, room: Room, stay: Stay) -> None:
        """Keep a past membership of a room until its last events are delivered."""
        room.stays.append(stay)
        self._stays[room] = None

    def settle(self) -> None:
        """Deliver what is owed now, unless something has to be stored first."""
        most = MOST_OWED if self._archive is None else MOST_STORED
        left = len(self._owed)  # what deliveries cause comes in the next turn
        while left > 0 and self._owed and not self._under_way:
            entries, self._owed = self._owed[: min(most, left)], self._owed[min(most, left) :]
            self._under_way = len(entries)
            left -= len(entries)
            if self._archive is not None and any(map(_needs_archive, entries)):
                ensureDeferred(self._store(entries, self._archive)).addErrback(self._fail)
            else:
                self._deliver(entries, _numbered(entries))

    async def finish(self) -> None:
        """Return once everything that is owed has been delivered."""
        while self._owed or self._under_way:
            self.settle()
            if self._under_way:
                self._waiting.append(Deferred())
                await self._waiting[-1]

    def _await_end_of_turn(self) -> None:
        if self._owed and not self._turn_ends and not self._under_way:
            self._turn_ends = True
            self._clock.callLater(0, self._end_turn)

    def _end_turn(self) -> None:
        self._turn_ends = False
        self.settle()

    async def _store(self, entries: Sequence[Entry], archive: Archive) -> None:
        """Store the messages among the entries and deliver all of them; without those, if that fails."""
        try:
            for room in {room for entry in entries for room in _unknown_rooms(entry)}:
                said, recent = await archive.latest(room.name, room.recent.maxlen or 0)
                room.said = said
                room.recent.extend(recent)
            events = _numbered(entries)
            if said_now := [event for event in events if isinstance(event, Said)]:
                await archive.keep(said_now)
        except NotStored as error:
            self._note_not_stored(str(error))
            entries = [_unsaid(entry, str(error)) for entry in entries]
            events = _numbered(entries)
        except Exception:  # whatever fails, what needs no disk goes on
            self._log.failure("history failed")
            entries = [_unsaid(entry, "the history failed") for entry in entries]
            events = _numbered(entries)
        self._deliver(entries, events)

    def _note_not_stored(self, reason: str) -> None:
        """Write to the log that messages were refused, once in a while as long as it goes on."""
        now = self._clock.seconds()
        if reason != self._failure or now >= self._failed_at + FAILURE_PERIOD:
            self._failure, self._failed_at = reason, now
            self._log.warn("messages not stored", reason=reason)

    def _fail(self, failure: Failure) -> None:
        self._log.failure("delivery failed", failure)

    def _deliver(self, entries: Sequence[Entry], events: Sequence[Event]) -> None:
        """Deliver events to the audience of their entries. What that causes comes in the next turn."""
        for entry, event in zip(entries, events, strict=True):
            if isinstance(event, Said):
                entry.rooms[0].said = event.number
                entry.rooms[0].recent.append(event)
        try:
            shares = _Shares(entries, events, self.delivered)
            for person in shares.audience:
                if person.changed >= self.delivered or person in shares.single or shares.common is None:
                    batch = shares.of(person)
                else:
                    batch = shares.common
                if batch is not None:
                    try:
                        person.outlet.deliver(batch)
                    except Exception:  # one person's failure must not stop the delivery to the others
                        self._give_up(person)
        finally:
            self.delivered += self._under_way
            self._under_way = 0
            self._forget_stays()
            self._on_delivered()
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
            for entry, event in zip(entries, events, strict=True):
                if entry.delivered is not None:
                    entry.delivered.callback(event)
            self._await_end_of_turn()

    def _give_up(self, person: Person) -> None:
        """Remove a person to whom nothing can be delivered."""
        self._log.failure("member_failed", member=person.name)
        self._remove(person)
        try:
            person.outlet.deliver(Batch([Ended("what you were to be told could not be delivered")]))
        except Exception:  # it is out of the chat already
            self._log.failure("member_failed", member=person.name)

    def _forget_stays(self) -> None:
        for room in tuple(self._stays):
            room.stays = [stay for stay in room.stays if stay.until > self.delivered]
            if not room.stays:
                del self._stays[room]


def _needs_archive(entry: Entry) -> bool:
    return isinstance(entry.event, Said) or bool(_unknown_rooms(entry))


def _unknown_rooms(entry: Entry) -> Sequence[Room]:
    """Return the rooms whose last messages have to be known, and are not."""
    if not isinstance(entry.event, Said | Entered):
        return ()
    return [room for room in entry.rooms if room.said is None]


def _unsaid(entry: Entry, reason: str) -> Entry:
    event = entry.event
    if not isinstance(event, Said):
        return entry
    unsaid = Unsaid(event.room, event.text, reason)
    return Entry(unsaid, only=entry.speaker, delivered=entry.delivered)


def _numbered(entries: Sequence[Entry]) -> list[Event]:
    """Return the events of entries, with numbers for messages and marks, and with messages for newcomers."""
    tails: dict[Room, list[Said]] = {}
    events: list[Event] = []
    for entry in entries:
        event = entry.event
        if isinstance(event, Said):
            room = entry.rooms[0]
            tail = tails.setdefault(room, [])
            if not event.number:  # else the exchange has numbered it
                event = event.numbered((room.said or 0) + len(tail) + 1)
            tail.append(event)
        elif isinstance(event, Entered):
            room = entry.rooms[0]
            tail = tails.get(room, [])
            unread = room.admit(entry.only, (room.said or 0) + len(tail)) if entry.only else 0
            recent = [said for said in (*room.recent, *tail) if said.number > unread]
            event = replace(event, recent=_last(recent, room.recent.maxlen))
        elif isinstance(event, Marked) and entry.rooms:
            room = entry.rooms[0]
            event = replace(event, last=(room.said or 0) + len(tails.get(room, ())))
        events.append(event)
    return events


def _last(said: Sequence[Said], limit: int | None) -> tuple[Said, ...]:
    return tuple(said[-limit:]) if limit else ()


class _Shares:
    """Shares of people in events that are delivered together. Whoever is owed the same gets the same batch.

    Args:
        entries: the audience of each event.
        events: in the order of `entries`.
        begin: place of the first event.

    Attributes:
        audience: everybody who may be owed something.
        single: people who are owed an event alone, or not owed one that others in their rooms are.
        common: share of all others, if the events concern one room; else None.
    """

    def __init__(self, entries: Sequence[Entry], events: Sequence[Event], begin: int) -> None:
        self._whole = Batch(events)
        self._begin = begin
        self._of_room: dict[Room, list[int]] = {}  # places in `events` of what the people in a room are owed
        self._of_person: dict[Person, list[int]] = {}
        self._not_for: dict[Person, list[int]] = {}
        for at, entry in enumerate(entries):
            if entry.only is not None:
                self._of_person.setdefault(entry.only, []).append(at)
            else:
                for room in entry.rooms:
                    self._of_room.setdefault(room, []).append(at)
            if entry.but is not None:
                self._not_for.setdefault(entry.but, []).append(at)
        self._entries = entries
        self._rooms = tuple(self._of_room)
        self.audience = dict.fromkeys(chain(self._of_person, *(room.audience() for room in self._rooms)))
        self.single = {*self._of_person, *self._not_for}
        self._batches: dict[tuple[Room, ...], Batch] = {}
        self.common = self._batch(self._rooms) if len(self._rooms) == 1 else None

    def of(self, person: Person) -> Batch | None:
        """Return what a person is owed, None for nothing."""
        if person.gone:
            alone = self._of_person.get(person, ())
            places = [at for at in alone if isinstance(self._entries[at].event, Ended)]
        elif person.changed < self._begin and person not in self.single:
            return self._batch(tuple(room for room in self._rooms if person in room.members))
        else:
            places = self._places(person)
        return self._whole.pick(places) if places else None

    def _places(self, person: Person) -> list[int]:
        """Return the places of what a person is owed, in order."""
        found = [self._of_person.get(person, [])]
        for room, places in self._of_room.items():
            for since, until in room.times(person):
                first = bisect_left(places, since - self._begin)
                last = len(places) if until is None else bisect_left(places, until - self._begin)
                found.append(places[first:last])
        return sorted(set().union(*found).difference(self._not_for.get(person, ())))

    def _batch(self, rooms: tuple[Room, ...]) -> Batch:
        """Return what is owed to everybody who is in these rooms."""
        if rooms not in self._batches:
            places = [at for at, entry in enumerate(self._entries) if _is_for(entry, rooms)]
            self._batches[rooms] = self._whole.pick(places)
        return self._batches[rooms]


def _is_for(entry: Entry, rooms: Collection[Room]) -> bool:
    """Tell whether an event is for the people in one of the rooms."""
    return entry.only is None and any(room in rooms for room in entry.rooms)
