"""Removal of what was said, by people and by commands beside the daemon, and by the end of closed rooms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sockd.text import printable
from sockd_plugins.chat.hub.delivery import Archive, Delivery, Entry, NotStored
from sockd_plugins.chat.hub.events import REMOVED, Redacted, Said
from sockd_plugins.chat.hub.exchange import Exchange
from sockd_plugins.chat.hub.moderation import check_operator
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Person, Room
from sockd_plugins.chat.hub.reading import unread
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.rooms import Rooms

NOBODY = "-"
"""Name of the speaker of a message after the person was forgotten; nobody can bear it."""


class Record:
    """Record of what was said, in memory and in the archive.

    Args:
        archive: store of messages; None if they are kept in memory only.
        rooms: of the chat.
        delivery: tells people of removals.
        joined: counts a request of a person, and returns its room of a name.

    Attributes:
        exchange: tells other processes of removals.
    """

    def __init__(
        self,
        archive: Archive | None,
        rooms: Rooms,
        delivery: Delivery,
        joined: Callable[[Person, str], Room],
    ) -> None:
        self._archive = archive
        self._rooms = rooms
        self._delivery = delivery
        self._joined = joined
        self.exchange: Exchange | None = None
        if archive is not None:
            rooms.on_closed = self._note_closed

    async def search(
        self, person: Person, name: str, words: str, limit: int, before: int | None = None
    ) -> Sequence[Said]:
        """Return the last messages of a room that have all words, at most `limit`, the newest first.

        Args:
            person: member of the room.
            name: of the room.
            words: as the person writes them.
            limit: messages at most.
            before: number that their numbers are below; None for all.

        Raises:
            ChatRefused: there is no word, or the history cannot be read.
        """
        room = self._joined(person, name)
        if self._archive is None:
            wanted = words.casefold().split()
            found = [said for said in room.recent if all(it in said.text.casefold() for it in wanted)]
            earlier = [said for said in reversed(found) if before is None or said.number < before]
            return [said for said in earlier if said.number > unread(person, room)][:limit]
        try:
            kept = await self._archive.search(words, room.name, limit, before)
        except ValueError as error:
            raise ChatRefused("no_text", str(error)) from None
        except OSError:
            raise ChatRefused("unavailable", "the history cannot be searched now") from None
        if person not in room.members:  # it has left meanwhile
            return []
        return [said for said in kept if said.number > unread(person, room)]

    async def redact(self, person: Person, name: str, number: int, reason: str = "") -> None:
        """Remove the text of a message for good. Operators of the room may, and whoever has said it.

        Args:
            person: member of the room.
            name: of the room.
            number: of the message.
            reason: text for the people in the room.

        Raises:
            ChatRefused: it may not, or there is no such message.
        """
        room = self._joined(person, name)
        said = await self._find(room, number)
        if said is None or person not in room.members or number <= unread(person, room):
            raise ChatRefused("no_such_message", f"there is no message {number} in {room.name}")
        is_own = bool(said.account) and fold(said.account) == fold(person.account)
        if not is_own:
            check_operator(person, room)
        if self.exchange is not None:
            self.exchange.check_reach()
        redacted = Redacted(room.name, number, person.name, printable(reason)[:200])
        await self.carry_out(redacted)
        if self.exchange is not None:
            self.exchange.redacted(redacted)

    async def carry_out(self, redacted: Redacted) -> None:
        """Remove a message here, and tell the people in its room; raise `ChatRefused` if it cannot be."""
        name, number = redacted.room, redacted.number
        if self._archive is not None:
            try:
                await self._archive.redact(name, number)
            except NotStored as error:
                raise ChatRefused("unavailable", f"not removed: {error}") from None
        room = self._rooms.find(name)
        if room is not None:
            self._remove(room, number)
            self._delivery.post(Entry(redacted, (room,)))

    def note_redacted(self, name: str, number: int, reason: str) -> None:
        """Note that a command has removed the text of a message, and tell the people in its room."""
        room = self._rooms.find(name)
        if room is not None:
            self._remove(room, number)
            self._delivery.post(Entry(Redacted(room.name, number, "", reason), (room,)))

    def note_forgotten(self, name: str) -> None:
        """Note that a command has removed text and name from all messages of a person.

        Args:
            name: of an account, or that of a person without one, folded.
        """
        for room in self._rooms:
            for at, said in enumerate(room.recent):
                if fold(said.account or said.name) == name:
                    room.recent[at] = replace(said, name=NOBODY, account="", text=REMOVED)

    async def _find(self, room: Room, number: int) -> Said | None:
        found = next((said for said in room.recent if said.number == number), None)
        if found is None and self._archive is not None and 0 < number <= (room.said or 0):
            try:
                kept = await self._archive.since(room.name, number - 1, 1)
            except OSError:
                raise ChatRefused("unavailable", "the history cannot be read now") from None
            found = next((said for said in kept if said.number == number), None)
        return found

    def _remove(self, room: Room, number: int) -> None:
        """Remove the text of a message from memory."""
        for at, said in enumerate(room.recent):
            if said.number == number:
                room.recent[at] = replace(said, text=REMOVED)

    def _note_closed(self, room: Room, closed: bool) -> None:
        if self._archive is not None:
            (self._archive.note_closed if closed else self._archive.note_open)(room.name)
