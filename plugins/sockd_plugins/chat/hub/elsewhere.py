"""People and rooms of a chat that other processes serve, as they are shown here."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.charter import Charter
from sockd_plugins.chat.hub.delivery import Delivery, Entry
from sockd_plugins.chat.hub.events import AccountSet, AwaySet, Ended, Event, Rank, Renamed, Said, Topic
from sockd_plugins.chat.hub.exchange import entry_of
from sockd_plugins.chat.hub.memberships import Memberships
from sockd_plugins.chat.hub.moderation import Moderation
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Person, Room
from sockd_plugins.chat.hub.record import Record
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.register import Register
from sockd_plugins.chat.hub.rooms import Rooms
from sockd_plugins.token_bucket import TokenBucket


class _Far:
    """Outlet of a person whom another process serves: that one delivers."""

    def deliver(self, batch: Batch) -> None:
        """Do nothing."""


_FAR = _Far()
_UNLIMITED = TokenBucket(1.0, 1, float)


class Elsewhere:
    """Changes that come from other processes of the chat.

    Args:
        people: of the chat.
        rooms: of the chat.
        memberships: of people in rooms.
        delivery: tells people.
        moderation: lets deeds happen.
        record: removes what was said.
    """

    def __init__(
        self,
        people: Register,
        rooms: Rooms,
        memberships: Memberships,
        delivery: Delivery,
        moderation: Moderation,
        record: Record,
    ) -> None:
        self.people = people
        self.rooms = rooms
        self.happen = moderation.happen
        self.redact = record.carry_out
        self._memberships = memberships
        self._delivery = delivery

    def enter(self, name: str, account: str, host: str, away: str, entered_at: float) -> Person:
        """Show a person that has come; whoever is here under its name is out of the chat."""
        rival = self.people.find(name)
        if rival is not None:
            self.end(rival, f"the name {name} is taken")
        person = Person(name, _FAR, _UNLIMITED, account, host, away=away, elsewhere=True)
        person.entered_at = person.spoke_at = entered_at
        self.people.add(person)
        return person

    def update(self, person: Person, name: str, account: str, away: str) -> None:
        """Show another name, account or absence of a person."""
        if name != person.name:
            rival = self.people.find(name)
            if rival is not None and rival is not person:
                self.end(rival, f"the name {name} is taken")
            renamed = Renamed(person.name, name)
            self.people.rename(person, name)
            self._tell_acquainted(person, renamed)
        if account != person.account:
            person.account = account
            self._tell_acquainted(person, AccountSet(person.name, account))
        if away != person.away:
            person.away = away
            self._tell_acquainted(person, AwaySet(person.name, away))

    def place(self, person: Person, ranks: Mapping[str, Rank]) -> None:
        """Show in which rooms a person is, by their names, with its rank in each."""
        wanted = {fold(name): (name, rank) for name, rank in ranks.items()}
        for key, room in list(person.rooms.items()):
            if key not in wanted:
                self._memberships.depart(person, room, "")
        for name, rank in wanted.values():
            there = self.room(name)
            if there is None:
                continue
            if person not in there.members:
                self._memberships.arrive(person, there, rank)
            else:
                there.members[person].rank = rank

    def room(self, name: str) -> Room | None:
        """Return a room, which is made if there is none; None if there are too many."""
        try:
            return self.rooms.find(name) or self.rooms.make(name)
        except ChatRefused:
            return None

    def charter(self, room: Room, charter: Charter, topic: Topic | None) -> None:
        """Take over who may do what in a room, and its topic."""
        charter.owners, charter.read_back = room.charter.owners, room.charter.read_back
        charter.is_kept, charter.known = room.charter.is_kept, room.charter.known
        charter.on_change = room.charter.on_change
        room.charter, room.topic = charter, topic
        charter.on_change()

    def leave(self, person: Person) -> None:
        """Show that a person has left the chat."""
        if not person.gone:
            self.people.remove(person)
            self._memberships.leave(person, "")

    def end(self, person: Person, reason: str) -> None:
        """End the chat for a person here."""
        if not person.gone:
            self.people.remove(person)
            self._memberships.leave(person, reason)
            self._delivery.post(Entry(Ended(reason), only=person))

    def hear(self, said: Said, room: Room, speaker: Person | None, delivered: Deferred[Event] | None) -> None:
        """Deliver a message that has its number."""
        self._delivery.post(entry_of(said, room, speaker, delivered))

    def _tell_acquainted(self, person: Person, event: Event) -> None:
        if person.rooms:
            self._delivery.post(Entry(event, tuple(person.rooms.values())))
