"""Exchange between the processes of a chat, over a broker."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd.plugin import Broker, BrokerRefused, Draft, Entry
from sockd_plugins.chat.hub.elsewhere import Elsewhere
from sockd_plugins.chat.hub.events import Event, Redacted, Said, Told
from sockd_plugins.chat.hub.exchange import Deed
from sockd_plugins.chat.hub.people import Person, Room
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.joint.charters import Charters
from sockd_plugins.chat.joint.people import People
from sockd_plugins.chat.joint.rooms import RoomLogs
from sockd_plugins.chat.joint.wire import NotUnderstood, decode_deed, encode_deed

NOT_YET = "the other servers have not been reached yet: try again"
AWAY = "the other servers cannot be reached: {} cannot be done now"


class JointExchange:
    """Exchange of a process with others that serve the same chat.

    Args:
        broker: the way to them.
        logs: messages of rooms.
        elsewhere: shows here what happens there.
        clock: for what is told at the end of a turn.
        log: gets what cannot be used.
    """

    def __init__(
        self, broker: Broker, logs: RoomLogs, elsewhere: Elsewhere, clock: IReactorTime, log: Logger
    ) -> None:
        self._broker = broker
        self._logs = logs
        self._elsewhere = elsewhere
        self._clock = clock
        self._log = log
        self._changed: dict[Person, None] = {}
        self._rooms: dict[Room, None] = {}  # whose charter or people have changed
        self._turn: IDelayedCall | None = None
        logs.elsewhere = elsewhere
        self._charters = Charters(broker, elsewhere, clock, log)
        self._people = People(broker, elsewhere, clock, log, self._charters.prepare)
        self._deeds = broker.subject("deeds", self)

    def check_entry(self) -> None:
        """Check that it is known who and what there is."""
        if not (self._people.complete and self._charters.complete):
            raise ChatRefused("away", NOT_YET)

    def check_reach(self) -> None:
        """Check that the others can be told at once."""
        if self._broker.state == "away":
            raise ChatRefused("away", AWAY.format("that"))

    def changed(self, person: Person) -> None:
        """Tell the others at the end of the turn how a person is now."""
        self._changed[person] = None
        self._rooms |= dict.fromkeys(person.rooms.values())
        self._tell_soon()

    def gone(self, person: Person) -> None:
        """Tell the others that a person has left the chat."""
        self._changed.pop(person, None)
        if not person.elsewhere:
            self._people.hide(person)
        self._tell_soon()

    def say(self, said: Said, room: Room, speaker: Person | None, delivered: Deferred[Event] | None) -> None:
        """Publish a message."""
        self._logs.say(said, room, speaker, delivered)

    def do(self, deed: Deed | Redacted) -> None:
        """Publish a deed, which happens when it comes back."""
        try:
            self._deeds.publish([Draft(encode_deed(deed), numbered=False)])
        except BrokerRefused as refused:
            raise ChatRefused("away", AWAY.format("that")) from refused

    def redacted(self, redacted: Redacted) -> None:
        """Tell the others that a message was removed here."""
        self.do(redacted)

    def take(self, entries: Sequence[Entry]) -> None:
        """Let deeds happen."""
        for entry in entries:
            try:
                deed = decode_deed(entry.data)
            except NotUnderstood as fault:
                self._log.warn("deed not understood", reason=str(fault))
                continue
            if isinstance(deed, Redacted):
                if entry.origin != self._broker.origin:
                    Deferred.fromCoroutine(self._elsewhere.redact(deed)).addErrback(self._failed)
                continue
            self._elsewhere.happen(deed)
            room = None if isinstance(deed, Told) else self._elsewhere.rooms.find(deed.room)
            if room is not None:
                self._rooms[room] = None
                self._tell_soon()

    def _failed(self, failure: Failure) -> None:
        self._log.failure("joint chat failed", failure)

    def miss(self, first: int, last: int) -> None:
        """Do nothing: deeds have no numbers."""

    def _tell_soon(self) -> None:
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._tell)

    def _tell(self) -> None:
        """Tell the others what has changed; charters first, for those who know a room only from now on."""
        self._turn = None
        rooms, self._rooms = self._rooms, {}
        people, self._changed = self._changed, {}
        for room in rooms:
            self._charters.tell(room)
        for person in people:
            self._people.show(person)
        self._logs.tidy()
