"""People of a chat over a broker: each is a key of the process that serves it, so a name has one bearer."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd.plugin import Broker, BrokerAway, Record
from sockd_plugins.chat.hub.elsewhere import Elsewhere
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.joint.wire import NotUnderstood, Shown, encode_person

AGAIN = 0.5
"""Seconds until a name is claimed again that could not be decided about."""

LOST = "the name {} is taken on another server"


class People:
    """People of this process for the others, and theirs here.

    Args:
        broker: has the registry.
        elsewhere: shows the people of others.
        clock: for names that are claimed again.
        log: gets what cannot be used.
        prepare: called with the name of a room before a person of others is shown there.
    """

    def __init__(
        self,
        broker: Broker,
        elsewhere: Elsewhere,
        clock: IReactorTime,
        log: Logger,
        prepare: Callable[[str], None],
    ) -> None:
        self._broker = broker
        self._elsewhere = elsewhere
        self._clock = clock
        self._log = log
        self._prepare = prepare
        self._own: dict[Person, str] = {}  # people of this process, with the key that each has
        self._claiming: set[Person] = set()
        self._others: dict[str, Person] = {}
        self._registry = broker.registry("people", self)

    @property
    def complete(self) -> bool:
        """Tell whether it is known who is there."""
        return self._registry.complete

    # People of this process.

    def show(self, person: Person) -> None:
        """Show a person of this process to the others, as it is now."""
        key = fold(person.name)
        if person.gone or person in self._claiming:
            return
        if self._own.get(person) == key:
            try:
                self._registry.change(key, encode_person(person))
            except KeyError:
                self._lose(person)
            return
        self._claiming.add(person)
        Deferred.fromCoroutine(self._claim(person)).addErrback(self._failed)

    def hide(self, person: Person) -> None:
        """Tell the others that a person of this process has left."""
        key = self._own.pop(person, None)
        if key is not None:
            self._registry.release(key)

    async def _claim(self, person: Person) -> None:
        """Claim a person's name, and give up the former one."""
        try:
            while not person.gone:
                key, former = fold(person.name), self._own.get(person)
                if former == key:
                    break
                try:
                    claimed = await self._registry.claim(key, encode_person(person, former or ""))
                except BrokerAway:
                    await deferLater(self._clock, AGAIN)
                    continue
                if not claimed and self._is_ending(key):
                    await deferLater(self._clock, AGAIN)  # a former instance of this service has it
                    continue
                if former is not None:
                    del self._own[person]
                    self._registry.release(former)
                if claimed:
                    self._own[person] = key
                elif not person.gone and fold(person.name) == key:
                    self._lose(person)
        finally:
            self._claiming.discard(person)
        if person.gone:
            self.hide(person)
        else:
            self.show(person)  # it may have changed meanwhile

    def _is_ending(self, key: str) -> bool:
        record = self._registry.records.get(key)
        return record is not None and record.origin == self._broker.origin

    def _lose(self, person: Person) -> None:
        self._own.pop(person, None)
        self._elsewhere.end(person, LOST.format(person.name))

    def _failed(self, failure: Failure) -> None:
        self._log.failure("joint chat failed", failure)

    # People of others.

    def put(self, record: Record) -> None:
        """Show a person of another process, as it is now."""
        if record.origin == self._broker.origin:
            return
        try:
            shown = Shown(record.value)
        except NotUnderstood as fault:
            self._log.warn("person not understood", name=record.key, reason=str(fault))
            return
        person = self._others.get(record.key)
        if person is None and shown.former:
            person = self._others.pop(shown.former, None)
        if person is None or person.gone:
            person = self._elsewhere.enter(
                shown.name, shown.account, shown.host, shown.away, shown.entered_at
            )
        self._others[record.key] = person
        self._elsewhere.update(person, shown.name, shown.account, shown.away)
        for room in shown.ranks:
            self._prepare(room)
        self._elsewhere.place(person, shown.ranks)

    def gone(self, record: Record) -> None:
        """Show that a person of another process has left."""
        person = self._others.pop(record.key, None)
        if person is not None:
            self._elsewhere.leave(person)
