"""Rooms of a chat: which there are, from the first person in them to the last event."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping

from sockd_plugins.chat.hub.charter import Charter
from sockd_plugins.chat.hub.events import Topic
from sockd_plugins.chat.hub.names import Names, fold
from sockd_plugins.chat.hub.people import Room
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.rules import RoomRules

MOST_NUMBERS = 10_000
"""Rooms that are gone, and whose last numbers are remembered."""


class Rooms:
    """Rooms by name. Those that are configured always exist.

    Args:
        most: rooms at once.
        recent: messages that each keeps to show to newcomers.
        stored: whether an archive has messages, which tells the number of a room's last one.
        now: time in seconds since 1970, for topics of the configuration.

    Attributes:
        on_closed: called when a room that is not configured is closed to some, and when it is open again.
    """

    def __init__(self, most: int, recent: int, stored: bool, now: float) -> None:
        self._most = most
        self._recent = recent
        self.stored = stored
        self._now = now
        self._rooms: Names[Room] = Names()
        self._numbers: dict[str, int] = {}  # last numbers of rooms that are gone, where nothing is stored
        self.on_closed: Callable[[Room, bool], None] = lambda _room, _closed: None
        self._closed: set[Room] = set()
        self._empty: dict[Room, int] = {}  # rooms without people, each with the place after its last event

    def __iter__(self) -> Iterator[Room]:
        return iter(self._rooms)

    def keep(self, rooms: Mapping[str, RoomRules]) -> None:
        """Make rooms that exist without people, too."""
        for name, rules in rooms.items():
            topic = Topic(rules.topic, "", self._now) if rules.topic else None
            self._add(name, Charter.configured(rules), topic)

    def kept(self) -> tuple[Room, ...]:
        """Return the rooms that exist without people, too."""
        return tuple(room for room in self._rooms if room.charter.is_kept)

    def find(self, name: str) -> Room | None:
        """Return a room, in any spelling of its name."""
        return self._rooms.find(name)

    def make(self, name: str) -> Room:
        """Make a room; raise `ChatRefused` if there are too many, or one with a name that looks like it."""
        if rival := self._rooms.rival(name):
            raise ChatRefused("confusable", f"{name} looks like {rival}, which is another room")
        if len(self._rooms) >= self._most:
            raise ChatRefused("too_many_rooms", f"there are {self._most} rooms already")
        return self._add(name, Charter(), None)

    def note_empty(self, room: Room, place: int) -> None:
        """Note that a room may have lost its last person, and with it topic and modes.

        Args:
            room: dropped once its last events are delivered.
            place: of the first event after those.
        """
        if not room.members and not room.charter.is_kept:
            self._empty[room] = place
            room.charter, room.topic = Charter(), None

    def note_modes(self, room: Room) -> None:
        """Note that the modes of a room have changed: perhaps not everybody may enter it any more."""
        if not room.charter.is_kept:
            self._note_closed(room, closed=room.charter.is_closed)

    def _note_closed(self, room: Room, *, closed: bool) -> None:
        if closed != (room in self._closed):
            if closed:
                self._closed.add(room)
            else:
                self._closed.discard(room)
                room.recent.clear()  # it was said among those who could enter then
            self.on_closed(room, closed)

    def drop_empty(self, delivered: int) -> None:
        """Drop the rooms that are empty and whose events before a place were the last."""
        for room, place in tuple(self._empty.items()):
            if room.members:
                del self._empty[room]
                self._note_closed(room, closed=room.charter.is_closed)
            elif delivered >= place:
                del self._empty[room]
                self._note_closed(room, closed=False)
                if self._rooms.find(room.name) is room:
                    self._rooms.take(room.name)
                    self._remember_number(room)

    def clear(self) -> None:
        """Drop all rooms."""
        self._rooms.clear()

    def _remember_number(self, room: Room) -> None:
        """Let the numbers of a room go on when it exists again."""
        if not self.stored and room.said:
            self._numbers[fold(room.name)] = room.said
            if len(self._numbers) > MOST_NUMBERS:
                del self._numbers[next(iter(self._numbers))]

    def _add(self, name: str, charter: Charter, topic: Topic | None) -> Room:
        said = None if self.stored else self._numbers.pop(fold(name), 0)
        room = Room(name, deque(maxlen=self._recent), said, topic, charter=charter)
        self._rooms.give(name, room)
        return room
