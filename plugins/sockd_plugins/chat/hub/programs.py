"""Requests of programs that are in no room: to speak there, and to read what was said.

Whoever calls bounds their rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from sockd.text import printable
from sockd_plugins.chat.hub.delivery import Delivery
from sockd_plugins.chat.hub.events import Event, Kind, Said, Unsaid
from sockd_plugins.chat.hub.exchange import Exchange
from sockd_plugins.chat.hub.people import Room
from sockd_plugins.chat.hub.reading import Reading
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.register import Register
from sockd_plugins.chat.hub.rooms import Rooms


class Programs:
    """Programs in the rooms of a chat.

    Args:
        people: whose names no program bears.
        rooms: of the chat.
        exchange: of what programs say.
        delivery: of what programs say.
        reading: of what was said.
        now: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        people: Register,
        rooms: Rooms,
        exchange: Exchange,
        delivery: Delivery,
        reading: Reading,
        now: Callable[[], float],
    ) -> None:
        self._people = people
        self._rooms = rooms
        self._exchange = exchange
        self._delivery = delivery
        self._reading = reading
        self._now = now

    async def post(self, name: str, room_name: str, text: str, kind: Kind, account: str, key: str) -> Said:
        """Send a message; return it once it is stored and delivered.

        Args:
            name: name of the program, which nobody in the chat has.
            room_name: room that exists, or that the archive may have.
            text: the message.
            kind: its kind.
            account: account that the program has proved; empty for none.
            key: word that the room may ask for.
        """
        self._exchange.check_entry()
        self._people.check(name, "", account)
        if self._delivery.is_full:
            raise ChatRefused("busy", "too much waits to be stored; try again")
        room = self._open(room_name)
        room.charter.check_outside(account, key, speaks=True)
        said = Said(room.name, name, text, 0, self._now(), kind, account)
        delivered: Deferred[Event] = Deferred()
        self._exchange.say(said, room, None, delivered)
        self._leave(room)
        event = await delivered
        if isinstance(event, Unsaid):
            raise ChatRefused("not_stored", event.reason)
        assert isinstance(event, Said)  # noqa: S101  # messages become nothing else
        return event

    async def read(self, room_name: str, number: int, limit: int, account: str, key: str) -> Sequence[Said]:
        """Return the first messages behind a number, at most `limit`; the others as of `post`."""
        room = self._open(room_name)
        room.charter.check_outside(account, key, speaks=False)
        self._leave(room)
        return await self._reading.behind(room, number, limit)

    def _open(self, name: str) -> Room:
        """Return a room that exists, or that the archive may have."""
        room = self._rooms.find(name)
        if room is not None:
            return room
        if not self._rooms.stored:
            raise ChatRefused("no_such_room", f"there is no room {printable(name)[:64]}")
        self._people.check_form(name)
        return self._rooms.make(name)

    def _leave(self, room: Room) -> None:
        self._rooms.note_empty(room, self._delivery.place)
        self._rooms.drop_empty(self._delivery.delivered)
