"""Messages of rooms over a broker: each room is a subject, from which a message has its number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from secrets import randbits

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sockd.plugin import Broker, BrokerRefused, Draft, Entry, Subject
from sockd_plugins.chat.hub.delivery import Archive
from sockd_plugins.chat.hub.elsewhere import Elsewhere
from sockd_plugins.chat.hub.events import Event, Said, Unsaid
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Person, Room
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.joint.wire import NotUnderstood, decode_said, encode_said


class RoomLogs:
    """Archive of a chat over a broker.

    Args:
        broker: has the messages for those who were away.
        archive: this process's own store.
        log: gets what cannot be used.
    """

    elsewhere: Elsewhere
    """Hub of this process; set when it is made."""

    def __init__(self, broker: Broker, archive: Archive, log: Logger) -> None:
        self.log = log
        self._broker = broker
        self._archive = archive
        self._opened: dict[str, RoomLog] = {}
        self._counts = count(randbits(48))  # a former instance in this process has others
        self._said: dict[int, tuple[Person | None, Deferred[Event] | None]] = {}

    # Archive.

    async def latest(self, room: str, limit: int) -> tuple[int, Sequence[Said]]:
        """Return the number of the last message that is stored here, and the last ones; others are delivered.

        What this process has missed comes from the broker, behind what is stored here.
        """
        known = self._opened.get(fold(room))
        if known is not None and known.shown:
            self._close(fold(room))  # the room was empty meanwhile
        opened = await self._open(room)
        opened.shown = True
        stored = (await self._archive.latest(room, limit))[1]
        return opened.first, [said for said in stored if said.number <= opened.first]

    async def keep(self, said: Sequence[Said]) -> None:
        """Store messages here, too; the broker has them already."""
        await self._archive.keep(said)

    async def search(self, text: str, room: str, limit: int, before: int | None = None) -> Sequence[Said]:
        """Return the last messages of a room that have all words."""
        return await self._archive.search(text, room, limit, before)

    async def redact(self, room: str, number: int) -> bool:
        """Remove the text of a message here."""
        return await self._archive.redact(room, number)

    def note_closed(self, room: str) -> None:
        """Note that not everybody may enter a room."""
        self._archive.note_closed(room)

    def note_open(self, room: str) -> None:
        """Hide what was said in a room while it was closed."""
        self._archive.note_open(room)

    async def since(self, room: str, number: int, limit: int) -> Sequence[Said]:
        """Return the first messages behind a number."""
        return await self._archive.since(room, number, limit)

    async def before(self, room: str, number: int, limit: int) -> Sequence[Said]:
        """Return the last messages before a number."""
        return await self._archive.before(room, number, limit)

    async def place(self, room: str, at: float) -> tuple[int, int]:
        """Return the numbers of the last message before a time, and of the first one after it."""
        return await self._archive.place(room, at)

    # What people say.

    def say(self, said: Said, room: Room, speaker: Person | None, delivered: Deferred[Event] | None) -> None:
        """Publish a message; raise `ChatRefused` if the broker refuses it."""
        opened = self._opened.get(fold(room.name))
        if self._broker.state == "away":
            raise ChatRefused("away", "the other servers cannot be reached: nothing can be said now")
        number = next(self._counts)
        draft = Draft(encode_said(said, number))
        self._said[number] = speaker, delivered
        try:
            if opened is not None:
                opened.subject.publish([draft])
            else:
                Deferred.fromCoroutine(self._say_first(said, draft, number, room.name)).addErrback(
                    self._failed
                )
        except BrokerRefused as refused:
            del self._said[number]
            raise ChatRefused("away", f"nothing can be said now: {refused}") from refused

    async def _say_first(self, said: Said, draft: Draft, number: int, room: str) -> None:
        """Open a room, and publish the first message there."""
        try:
            (await self._open(room)).subject.publish([draft])
        except BrokerRefused as refused:
            _, delivered = self._said.pop(number)
            if delivered is not None:
                delivered.callback(Unsaid(said.room, said.text, str(refused)))

    def _failed(self, failure: object) -> None:
        self.log.failure("joint chat failed", failure)  # type: ignore[arg-type]  # it is a failure

    def come(self, room: RoomLog, entries: Sequence[Entry]) -> None:
        """Deliver messages that have come back, or from elsewhere."""
        for entry in entries:
            try:
                said, number = decode_said(entry.data, room.name, entry.number)
            except NotUnderstood as fault:
                self.log.warn("message not understood", room=room.name, reason=str(fault))
                continue
            own = entry.origin == self._broker.origin
            speaker, delivered = self._said.pop(number, (None, None)) if own else (None, None)
            here = self.elsewhere.room(room.name)
            if here is not None:
                self.elsewhere.hear(said, here, speaker, delivered)

    async def _open(self, room: str) -> RoomLog:
        key = fold(room)
        opened = self._opened.get(key)
        if opened is not None:
            return opened
        number, _ = await self._archive.latest(room, 0)
        opened = self._opened.get(key)
        if opened is None:
            opened = self._opened[key] = RoomLog(self, room, number)
            opened.subject = self._broker.subject(f"room {key}", opened, after=number)
        return opened

    def tidy(self) -> None:
        """Close the rooms that there are not any more."""
        for key in list(self._opened):
            if self.elsewhere.rooms.find(self._opened[key].name) is None:
                self._close(key)

    def _close(self, key: str) -> None:
        self._opened.pop(key).subject.close()


class RoomLog:
    """Subject of one room.

    Args:
        logs: deliver what comes.
        name: of the room.
        first: number of the last message that is stored here.
    """

    subject: Subject
    """Subscription; set when it is made."""

    def __init__(self, logs: RoomLogs, name: str, first: int) -> None:
        self.name = name
        self.first = first
        self.shown = False
        self._logs = logs

    def take(self, entries: Sequence[Entry]) -> None:
        """Deliver messages."""
        self._logs.come(self, entries)

    def miss(self, first: int, last: int) -> None:
        """Report messages that the broker does not keep any more."""
        self._logs.log.warn("messages missed", room=self.name, first=first, last=last)
