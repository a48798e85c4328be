"""Charters of rooms over a broker: processes with people in a room tell its state to those that come later.

All that changes a charter is a deed, which happens in every process in the same order. So the copies are the
same, and a newcomer takes any of them.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd.plugin import Broker, BrokerAway, Record
from sockd_plugins.chat.hub.elsewhere import Elsewhere
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Room
from sockd_plugins.chat.joint.people import AGAIN
from sockd_plugins.chat.joint.wire import NotUnderstood, decode_room, encode_room


class Charters:
    """Charters of the rooms in which this process has people, and those of others.

    Args:
        broker: has the registry.
        elsewhere: has the rooms.
        clock: for records that are stored again.
        log: gets what cannot be used.
    """

    def __init__(self, broker: Broker, elsewhere: Elsewhere, clock: IReactorTime, log: Logger) -> None:
        self._broker = broker
        self._elsewhere = elsewhere
        self._clock = clock
        self._log = log
        self._known: dict[str, Room] = {}  # rooms whose charter is that of all
        self._own: set[str] = set()
        self._claiming: set[str] = set()
        self._registry = broker.registry("rooms", self)

    @property
    def complete(self) -> bool:
        """Tell whether it is known which rooms there are."""
        return self._registry.complete

    def tell(self, room: Room) -> None:
        """Tell the others the charter of a room, if people of this process are there."""
        key = self._key(room.name)
        if self._elsewhere.rooms.find(room.name) is not room or all(
            person.elsewhere for person in room.members
        ):
            if key in self._own:
                self._own.discard(key)
                self._registry.release(key)
            if not room.members:
                self._known.pop(fold(room.name), None)
            return
        self._known[fold(room.name)] = room
        if key in self._own:
            self._registry.change(key, encode_room(room))
        elif key not in self._claiming:
            self._claiming.add(key)
            Deferred.fromCoroutine(self._claim(key, room)).addErrback(self._failed)

    async def _claim(self, key: str, room: Room) -> None:
        claimed = False
        try:
            while not claimed and room.members:
                try:
                    claimed = await self._registry.claim(key, encode_room(room))
                except BrokerAway:
                    claimed = False
                if not claimed:
                    await deferLater(self._clock, AGAIN)
        finally:
            self._claiming.discard(key)
        if claimed:
            self._own.add(key)
            self.tell(room)

    def prepare(self, name: str) -> None:
        """Take over the charter of a room in which a person of another process is."""
        for record in tuple(self._registry.records.values()):
            if record.key.startswith(f"{fold(name)} "):
                self.put(record)

    def put(self, record: Record) -> None:
        """Take over the charter of a room that is not known yet."""
        if record.origin == self._broker.origin:
            return
        try:
            name, charter, topic = decode_room(record.value)
        except NotUnderstood as fault:
            self._log.warn("room not understood", name=record.key, reason=str(fault))
            return
        room = self._elsewhere.room(name)
        if room is not None and self._known.get(fold(name)) is not room:
            self._known[fold(name)] = room
            self._elsewhere.charter(room, charter, topic)

    def gone(self, record: Record) -> None:
        """Do nothing: the room is gone with its people."""

    def _key(self, name: str) -> str:
        return f"{fold(name)} {self._broker.origin}"

    def _failed(self, failure: Failure) -> None:
        self._log.failure("joint chat failed", failure)
