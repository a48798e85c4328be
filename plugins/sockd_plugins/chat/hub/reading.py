"""Messages that were said before, as far as a member of their room may read them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from twisted.logger import Logger

from sockd_plugins.chat.hub.delivery import Archive
from sockd_plugins.chat.hub.events import Said
from sockd_plugins.chat.hub.people import Person, Room
from sockd_plugins.chat.hub.refused import ChatRefused


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

    async def first_at(self, room: Room, at: float) -> int:
        """Return the number of the first message that is not older than a time.

        Args:
            room: the room; the times of its messages rise with their numbers.
            at: in seconds since 1970.
        """
        low, high = 1, (room.said or 0) + 1
        while low < high:
            middle = (low + high) // 2
            kept = await self._one(room, middle)
            if kept is None or kept.at >= at:
                high = middle
            else:
                low = kept.number + 1
        return low

    async def _one(self, room: Room, number: int) -> Said | None:
        """Return the message with a number, or the first one that is kept behind it."""
        if self._archive is not None and (not room.recent or room.recent[0].number > number):
            return next(iter(await self._read(self._archive.since(room.name, number - 1, 1))), None)
        return next((each for each in room.recent if each.number >= number), None)

    async def _read(self, messages: Awaitable[Sequence[Said]]) -> Sequence[Said]:
        try:
            return await messages
        except Exception:  # whatever fails, the person is told and stays
            self._log.failure("history not read")
            raise ChatRefused("unavailable", "the history cannot be read now") from None


def unread(person: Person, room: Room) -> int:
    """Return the number of the last message of a room that a member of it may not read."""
    if room.charter.read_back == "all":
        return 0
    number = room.members[person].unread
    return (room.said or 0) if number is None else number
