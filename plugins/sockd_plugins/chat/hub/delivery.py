"""Delivery of events, in one order for all.

Events are collected for a turn of the reactor and delivered at its end, all at once, so that a busy room
costs each person one write. Where messages are stored, they are delivered once they are: what anybody sees,
survives a crash. Whatever happens meanwhile is stored and delivered together, after it (group commit).

Each event has a place, and whoever is in a room from one place to another is delivered what happens between
them. The entry of a person is an event of its own, delivered in the same order: the messages that it comes
with are those that were delivered before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.events import Ended, Entered, Event, Said, Unsaid
from sockd_plugins.chat.hub.people import Person, Room, Stay

MOST_OWED = 128
"""Events that are collected until they are delivered before the end of the turn, so that people who do not
read are noticed between them."""

MOST_STORED = 1024
"""Events that are delivered at once at most, after a wait for the disk."""

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

    async def since(self, room: str, number: int, limit: int) -> Sequence[Said]:
        """Return the first `limit` messages of a room behind a number."""

    async def before(self, room: str, number: int, limit: int) -> Sequence[Said]:
        """Return the last `limit` messages of a room before a number, the oldest first."""


@dataclass(slots=True, eq=False)
class Entry:
    """Event with its audience: the people in `rooms`, perhaps but for one; or one person.

    Attributes:
        speaker: who is told if a message cannot be stored.
    """

    event: Event
    rooms: tuple[Room, ...] = ()
    but: Person | None = None
    only: Person | None = None
    speaker: Person | None = None


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
        if len(self._owed) >= MOST_OWED:
            self.settle()
        self._await_end_of_turn()

    def remember(self, room: Room, stay: Stay) -> None:
        """Keep a past membership of a room until its last events are delivered."""
        room.stays.append(stay)
        self._stays[room] = None

    def settle(self) -> None:
        """Deliver what is owed now, unless something has to be stored first."""
        if self._owed and not self._under_way:
            entries, self._owed = self._owed[:MOST_STORED], self._owed[MOST_STORED:]
            self._under_way = len(entries)
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
        except Exception as error:  # whatever fails, what needs no disk goes on
            self._log.failure("messages not stored")
            reason = str(error) if isinstance(error, NotStored) else "the history failed; its log tells why"
            entries = [_unsaid(entry, reason) for entry in entries]
            events = _numbered(entries)
        self._deliver(entries, events)

    def _fail(self, failure: Failure) -> None:
        self._log.failure("delivery failed", failure)

    def _deliver(self, entries: Sequence[Entry], events: Sequence[Event]) -> None:
        """Deliver events to the audience of their entries. What that causes comes in the next turn."""
        for entry, event in zip(entries, events, strict=True):
            if isinstance(event, Said):
                entry.rooms[0].said = event.number
                entry.rooms[0].recent.append(event)
        try:
            for person, batch in _shares(entries, events, self.delivered):
                if not self.give(person, batch):
                    self._remove(person)
                    self.give(person, Batch([Ended("what you were to be told could not be delivered")]))
        finally:
            self.delivered += self._under_way
            self._under_way = 0
            self._forget_stays()
            self._on_delivered()
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
            self._await_end_of_turn()

    def give(self, person: Person, batch: Batch) -> bool:
        """Deliver events to one person at once; tell whether that worked."""
        try:
            person.outlet.deliver(batch)
        except Exception:  # one person's failure must not stop the delivery to the others
            self._log.failure("member_failed", member=person.name)
            return False
        return True

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
    return Entry(Unsaid(event.room, event.text, reason), only=entry.speaker)


def _numbered(entries: Sequence[Entry]) -> list[Event]:
    """Return the events of entries, with numbers for messages, and with the messages for those who enter."""
    tails: dict[Room, list[Said]] = {}
    events: list[Event] = []
    for entry in entries:
        event = entry.event
        if isinstance(event, Said):
            room = entry.rooms[0]
            tail = tails.setdefault(room, [])
            event = event.numbered((room.said or 0) + len(tail) + 1)
            tail.append(event)
        elif isinstance(event, Entered):
            room = entry.rooms[0]
            event = replace(event, recent=_last((*room.recent, *tails.get(room, ())), room.recent.maxlen))
        events.append(event)
    return events


def _last(said: tuple[Said, ...], limit: int | None) -> tuple[Said, ...]:
    return said[-limit:] if limit else ()


def _shares(entries: Sequence[Entry], events: Sequence[Event], begin: int) -> Iterator[tuple[Person, Batch]]:
    """Yield each person of the audience and what it is owed; people who are owed the same share a batch.

    Args:
        entries: the audience of each event.
        events: in the order of `entries`.
        begin: place of the first event.
    """
    whole = Batch(events)
    rooms = tuple({room: None for entry in entries for room in entry.rooms if entry.only is None})
    only = {entry.only: None for entry in entries if entry.only is not None}
    own: dict[Person, set[int]] = {}
    for place, entry in enumerate(entries):
        if entry.but is not None:
            own.setdefault(entry.but, set()).add(place)
    shared: dict[tuple[Room, ...], list[int]] = {}
    batches: dict[tuple[Room, ...], Batch] = {}
    for person in dict.fromkeys(chain(only, *(room.audience() for room in rooms))):
        if person.gone or person.changed >= begin or person in only:
            places = [at for at, entry in enumerate(entries) if _concerns(entry, person, begin + at)]
            batch = whole.pick(places) if places else None
        else:
            here = rooms if len(rooms) == 1 else tuple(room for room in rooms if person in room.members)
            if here not in shared:
                shared[here] = [
                    at
                    for at, entry in enumerate(entries)
                    if entry.only is None and not set(here).isdisjoint(entry.rooms)
                ]
                batches[here] = whole.pick(shared[here])
            batch = batches[here]
            if person in own:
                places = [at for at in shared[here] if at not in own[person]]
                batch = whole.pick(places) if places else None
        if batch is not None:
            yield person, batch


def _concerns(entry: Entry, person: Person, place: int) -> bool:
    """Tell whether a person is owed the event at a place."""
    if entry.only is not None:
        return entry.only is person and (not person.gone or isinstance(entry.event, Ended))
    if entry.but is person or person.gone:
        return False
    return any(room.includes(person, place) for room in entry.rooms)
