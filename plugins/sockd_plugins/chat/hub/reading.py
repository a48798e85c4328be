"""Messages that were said before, as far as a member of their room may read them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from twisted.logger import Logger

from sockd_plugins.chat.hub.delivery import Archive
from sockd_plugins.chat.hub.events import Said
from sockd_plugins.chat.hub.people import Person, Room
from sockd_plugins.chat.hub.refused import ChatRefused

T = TypeVar("T")


class Reading:
    """Reading of what rooms keep.

    Args:
        archive: store of messages; None if they are kept in memory only.
        log: gets what could not be read.
    """

    def __init__(self, archive: Archive | None, log: Logger) -> None:
        self._archive = archive
        self._log = log

    async def since(self, person: Person, room: Room, number: int, limit: int) -> Sequence[Said]:
        """Return the first messages behind a number, at most `limit`, as far as they are kept."""
        return await self.behind(room, number, limit, unread(person, room))

    async def behind(self, room: Room, number: int, limit: int, unread: int = 0) -> Sequence[Said]:
        """Return the first messages behind a number, and behind the last one that may not be read."""
        if number < 0 or (room.said is not None and number > room.said):
            text = f"the last message in {room.name} has the number {room.said or 0}"
            raise ChatRefused("no_such_message", text)
        number = max(number, unread)
        if self._archive is None or (room.recent and room.recent[0].number <= number + 1):
            return [each for each in room.recent if each.number > number][:limit]
        return await self._read(self._archive.since(room.name, number, limit))

    async def before(self, person: Person, room: Room, number: int, limit: int) -> Sequence[Said]:
        """Return the last messages before a number, at most `limit`, the oldest first."""
        first = unread(person, room) + 1
        if self._archive is None:
            earlier = [each for each in room.recent if first <= each.number < number]
            return earlier[max(0, len(earlier) - limit) :]
        found = await self._read(self._archive.before(room.name, number, limit))
        return [each for each in found if each.number >= first]

    async def place(self, room: Room, at: float) -> tuple[int, int]:
        """Return the numbers of the last message before a time, and of the first one after it.

        Args:
            room: the room.
            at: in seconds since 1970; whole milliseconds count, as clients write them.
        """
        if self._archive is not None:
            return await self._read(self._archive.place(room.name, at))
        mark, end = round(at * 1000), (room.said or 0) + 1
        from_then = (each.number for each in room.recent if int(each.at * 1000) >= mark)
        later = (each.number for each in room.recent if int(each.at * 1000) > mark)
        return next(from_then, end) - 1, next(later, end)

    async def _read(self, found: Awaitable[T]) -> T:
        try:
            return await found
        except Exception:  # whatever fails, the person is told and stays
            self._log.failure("history not read")
            raise ChatRefused("unavailable", "the history cannot be read now") from None


def unread(person: Person, room: Room) -> int:
    """Return the number of the last message of a room that a member of it may not read."""
    if room.charter.read_back == "all":
        return 0
    number = room.members[person].unread
    return (room.said or 0) if number is None else number
