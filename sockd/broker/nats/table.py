"""Registry in the stream: a key is a subject, of which only the last message is kept.

A put has the owner's name in its first line and the value behind it; a message without bytes is the end of
a record. Each names the place of the message that it replaces, so of two owners one is refused. What a
process wants of a key is compared with what the stream says of it, after each message and each answer: that
is all it takes to claim, change and release keys, and to claim them again after a long time away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from sockd.broker.contract import BrokerAway, Record, Watcher, check_data, check_name
from sockd.broker.names import name_of, token
from sockd.broker.nats.jetstream import Stored, refusal_of
from sockd.broker.nats.line import AGAIN, Line
from sockd.broker.scope import Fault

ENDS_KEPT = "24h"
"""Time for which the end of a record stays in the stream. Who was away for longer reads the registry anew."""

REPLACE = {"Nats-Rollup": "sub"}
"""Headers of a message that replaces all earlier ones of its subject."""

END = REPLACE | {"Nats-TTL": ENDS_KEPT}
"""Headers of the end of a record."""


@dataclass(slots=True)
class _Slot:
    """Key, as the stream has it.

    Attributes:
        seq: place of its last message; 0 without any.
        record: its record; None if it is free.
    """

    seq: int = 0
    record: Record | None = None


class Table:
    """Registry for all watchers in this process.

    Args:
        line: way to the stream.
        prefix: subject of a key, without the key's own token.
        clock: for what is tried again.

    Attributes:
        loaded: whether the records are known that were there before.
        loading: whether they are being read.
    """

    def __init__(self, line: Line, prefix: str, clock: IReactorTime) -> None:
        self.registries: list[StreamRegistry] = []
        self.records: dict[str, Record] = {}
        self.loaded = self.loading = False
        self.prefix = prefix
        self._line = line
        self._clock = clock
        self._slots: dict[str, _Slot] = {}
        self._wanted: dict[str, bytes] = {}
        self._claims: dict[str, Deferred[bool]] = {}
        self._busy: dict[str, int] = {}  # by key, the place up to which the stream has to be known first
        self._dropped: set[str] = set()  # keys of owners who are gone
        self._doubtful: set[str] = set()  # keys that may be others in the stream

    @property
    def origins(self) -> set[str]:
        """Owners of records."""
        return {record.origin for record in self.records.values()}

    @property
    def busy(self) -> bool:
        """Tell whether something waits to be stored."""
        return bool(self._busy)

    # From the stream.

    def take(self, stored: Stored) -> None:
        """Take the next message of a key."""
        try:
            key = name_of(stored.subject.rpartition(".")[2])
        except ValueError:
            return  # published by something else
        slot = self._slots.setdefault(key, _Slot())
        if stored.seq <= slot.seq:
            return
        slot.seq = stored.seq
        self._doubtful.discard(key)
        self._set(key, slot, _record(key, stored.data))
        if self._busy.get(key, 0) <= stored.seq and self._busy.get(key) != 0:
            self._busy.pop(key, None)
        self._settle(key)

    def _set(self, key: str, slot: _Slot, record: Record | None) -> None:
        """Note a record, and tell it."""
        former, slot.record = slot.record, record
        self._dropped.discard(key)
        if record is not None and record != former:
            self.records[key] = record
            self._tell(lambda watcher: watcher.put(record))
        elif record is None and former is not None:
            del self.records[key]
            self._tell(lambda watcher: watcher.gone(former))

    def _tell(self, call: Callable[[Watcher], None]) -> None:
        for each in tuple(self.registries):
            each.call(call)

    def resume(self) -> None:
        """Go on over a new connection."""
        self._busy.clear()
        for key in {*self._wanted, *self._slots}:
            self._settle(key)

    def forget(self) -> None:
        """Take everything for doubtful, until it has been read anew."""
        self.loaded = False
        self._doubtful = set(self._slots)
        for slot in self._slots.values():
            slot.seq = 0

    def load(self) -> None:
        """End the reading of what was there: what is doubtful still is gone."""
        self.loaded = True
        doubtful, self._doubtful = self._doubtful, set()
        for key in doubtful:
            self._set(key, self._slots[key], None)
        self.resume()

    # To the stream.

    async def claim(self, key: str, value: bytes) -> bool:
        """Take a key; as `Registry.claim`."""
        check_name(key)
        check_data(value)
        if self._line.away:
            raise BrokerAway(self._line.away)
        if key in self._wanted or key in self.records:
            return False
        self._wanted[key] = value
        claim: Deferred[bool] = Deferred()
        self._claims[key] = claim
        self._settle(key)
        return await claim

    def change(self, key: str, value: bytes) -> None:
        """Give an own key another value; as `Registry.change`."""
        check_data(value)
        if key not in self._wanted:
            raise KeyError(key)
        self._wanted[key] = value
        self._settle(key)

    def release(self, key: str) -> None:
        """Give up a key."""
        if self._wanted.pop(key, None) is not None:
            self._end_claim(key, False)
            self._settle(key)

    def drop(self, origins: set[str]) -> None:
        """End the records of owners who are gone."""
        for key, record in list(self.records.items()):
            if record.origin in origins:
                self._dropped.add(key)
                self._settle(key)

    def _settle(self, key: str) -> None:
        """Compare what is wanted of a key with what it is, and publish what is missing."""
        slot = self._slots.get(key) or _Slot()
        wanted, record = self._wanted.get(key), slot.record
        own = record is not None and record.origin == self._line.origin
        if wanted is not None and record is not None and not own and key not in self._dropped:
            del self._wanted[key]  # somebody else was first
            self._end_claim(key, False)
            return
        if own and wanted is not None:
            self._end_claim(key, True)
        if key in self._busy:
            return
        if wanted is not None and (record is None or (own and record.value != wanted)):
            self._publish(key, slot.seq, self._line.origin.encode() + b"\n" + wanted, REPLACE)
        elif (own and wanted is None) or (record is not None and key in self._dropped):
            self._publish(key, slot.seq, b"", END)
        elif record is None and wanted is None and slot.seq == 0:
            self._slots.pop(key, None)

    def _publish(self, key: str, expected: int, data: bytes, headers: Mapping[str, str]) -> None:
        stream = self._line.stream
        if stream is None:
            self._give_up(key)
            return
        self._busy[key] = 0
        answer = stream.publish(self.prefix + token(key), data, expected, headers)
        answer.addCallbacks(self._stored, self._refused, callbackArgs=(key,), errbackArgs=(key, stream))

    def _stored(self, seq: int, key: str) -> None:
        """Wait for the message itself, unless it was faster than its answer."""
        self._await(key, seq)

    def _await(self, key: str, seq: int) -> None:
        slot = self._slots.get(key)
        if key not in self._busy:
            return
        if slot is not None and slot.seq >= seq:
            del self._busy[key]
            self._settle(key)
        else:
            self._busy[key] = seq

    def _refused(self, failure: Failure, key: str, stream: object) -> None:
        if stream is not self._line.stream:
            self._give_up(key)
            return  # a new connection has begun with everything anew
        refusal = refusal_of(failure)
        if refusal is None:
            self._line.doubt()
            self._give_up(key)
            self._clock.callLater(AGAIN, self._again, key)
            return
        last = refusal.last
        if last:
            self._await(key, last)
            return
        if last == 0:  # the end of a record is kept for a time only
            self._slots.setdefault(key, _Slot()).seq = 0
        self._clock.callLater(AGAIN if last is None else 0, self._again, key)

    def _again(self, key: str) -> None:
        if self._busy.get(key) == 0:
            del self._busy[key]
        self._settle(key)

    def _give_up(self, key: str) -> None:
        """Refuse a claim that cannot be decided now; if it was stored all the same, it is released."""
        if key in self._claims:
            self._wanted.pop(key, None)
            self._claims.pop(key).errback(BrokerAway(self._line.away or "the broker does not answer"))

    def _end_claim(self, key: str, result: bool) -> None:
        claim = self._claims.pop(key, None)
        if claim is not None:
            claim.callback(result)


def _record(key: str, data: bytes) -> Record | None:
    """Return the record of a message; None for its end."""
    origin, mark, value = data.partition(b"\n")
    return Record(key, value, origin.decode("ascii", "replace")) if mark else None


class StreamRegistry:
    """Registry of the stream, as a service has it.

    Args:
        table: the registry.
        watcher: takes the changes.
        fault: called for exceptions of the watcher.
        ended: called when it is closed.
    """

    def __init__(self, table: Table, watcher: Watcher, fault: Fault, ended: Callable[[], None]) -> None:
        self._table = table
        self._watcher = watcher
        self._fault = fault
        self._ended = ended
        self._own: set[str] = set()
        for record in tuple(table.records.values()):
            self.call(lambda watcher, record=record: watcher.put(record))  # type: ignore[misc]
        table.registries.append(self)

    @property
    def complete(self) -> bool:
        """Tell whether the records are known that were there before."""
        return self._table.loaded

    @property
    def records(self) -> Mapping[str, Record]:
        """Records by key."""
        return MappingProxyType(self._table.records)

    async def claim(self, key: str, value: bytes) -> bool:
        """Take a key that is free."""
        if await self._table.claim(key, value):
            self._own.add(key)
            if self not in self._table.registries:  # it was closed meanwhile
                self.release(key)
                return False
            return True
        return False

    def change(self, key: str, value: bytes) -> None:
        """Give an own key another value."""
        if key not in self._own:
            raise KeyError(key)
        self._table.change(key, value)

    def release(self, key: str) -> None:
        """Give up a key."""
        if key in self._own:
            self._own.discard(key)
            self._table.release(key)

    def close(self) -> None:
        """Release every key, and end the watch."""
        if self in self._table.registries:
            for key in tuple(self._own):
                self.release(key)
            self._table.registries.remove(self)
            self._ended()

    def call(self, call: Callable[[Watcher], None]) -> None:
        """Call the watcher."""
        try:
            call(self._watcher)
        except Exception:  # a plugin may raise anything
            self._fault()
