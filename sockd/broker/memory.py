"""Broker `memory`: the order and the numbers of one process, at once and without a server."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

from sockd.broker.contract import Draft, Entry, Receiver, Record, State, Watcher, check_data, check_name
from sockd.broker.scope import Fault

KEPT = 256
"""Entries that a subject keeps for `since`. A service that wants more has a store of its own."""


class MemoryBroker:
    """Broker of one process.

    Args:
        origin: name of the process.
        now: time of day, in seconds since 1970.
    """

    shared = False
    state: State = "connected"
    why = ""
    server = ""

    def __init__(self, origin: str, now: Callable[[], float] = time.time) -> None:
        self.origin = origin
        self._now = now
        self._logs: dict[tuple[str, str], _Log] = {}
        self._tables: dict[tuple[str, str], _Table] = {}

    def start(self) -> None:
        """Do nothing: the memory is there."""

    async def stop(self) -> None:
        """Do nothing."""

    def watch(self, told: Callable[[State], None]) -> Callable[[], None]:  # noqa: ARG002  # as Core has it
        """Do nothing: the state never changes."""
        return lambda: None

    def subject(
        self, service: str, name: str, receiver: Receiver, after: int | None, fault: Fault
    ) -> MemorySubject:
        """Subscribe to a subject; its numbers last as long as it has subscribers."""
        log = self._logs.setdefault((service, name), _Log(self.origin, self._now))
        return MemorySubject(log, receiver, after, fault, lambda: self._logs.pop((service, name), None))

    def registry(self, service: str, name: str, watcher: Watcher, fault: Fault) -> MemoryRegistry:
        """Join a registry."""
        table = self._tables.setdefault((service, name), _Table())
        return MemoryRegistry(table, self.origin, watcher, fault)


class _Log:
    """Entries of a subject."""

    def __init__(self, origin: str, now: Callable[[], float]) -> None:
        self.number = 0
        self.kept: deque[Entry] = deque(maxlen=KEPT)
        self.subscribers: list[MemorySubject] = []
        self._origin = origin
        self._now = now
        self._waiting: deque[tuple[Entry, ...]] = deque()
        self._handing = False

    def publish(self, drafts: Sequence[Draft]) -> None:
        """Number the drafts, and hand them to everybody; what is published meanwhile comes after them."""
        at = self._now()
        entries = []
        for draft in drafts:
            self.number += draft.numbered
            entries.append(Entry(self.number, draft.data, self._origin, at, draft.numbered))
        self.kept.extend(entry for entry in entries if entry.numbered)
        self._waiting.append(tuple(entries))
        if self._handing:
            return
        self._handing = True
        try:
            while self._waiting:
                batch = self._waiting.popleft()
                for subscriber in tuple(self.subscribers):
                    subscriber.hand(batch)
        finally:
            self._handing = False


class MemorySubject:
    """Subscription to a subject of this process."""

    def __init__(
        self, log: _Log, receiver: Receiver, after: int | None, fault: Fault, ended: Callable[[], object]
    ) -> None:
        self._log = log
        self._receiver = receiver
        self._fault = fault
        self._ended = ended
        if after is not None:
            known = after
            log.number = max(log.number, after)
            if missed := [entry for entry in log.kept if entry.number > after]:
                if missed[0].number > after + 1:
                    self._call(lambda: receiver.miss(after + 1, missed[0].number - 1))
                self._call(lambda: receiver.take(missed))
                known = missed[-1].number
            elif log.number > after:
                self._call(lambda: receiver.miss(after + 1, log.number))
                known = log.number
        else:
            known = log.number
        self.number = self._first = known
        log.subscribers.append(self)

    def publish(self, drafts: Sequence[Draft]) -> None:
        """Publish drafts; they are handed over before this returns, unless it is called by a receiver."""
        for draft in drafts:
            check_data(draft.data)
        if drafts:
            self._log.publish(drafts)

    async def latest(self, limit: int) -> tuple[int, tuple[Entry, ...]]:
        """Return the number behind which the receiver has begun, and the last entries up to it."""
        kept = [entry for entry in self._log.kept if entry.number <= self._first]
        return self._first, tuple(kept[max(0, len(kept) - limit) :])

    async def since(self, number: int, limit: int) -> tuple[Entry, ...]:
        """Return the first entries behind a number that are kept."""
        return tuple(islice((entry for entry in self._log.kept if entry.number > number), limit))

    def close(self) -> None:
        """End the subscription."""
        if self in self._log.subscribers:
            self._log.subscribers.remove(self)
            if not self._log.subscribers:
                self._ended()

    def hand(self, entries: Sequence[Entry]) -> None:
        """Hand entries to the receiver."""
        self.number = entries[-1].number
        self._call(lambda: self._receiver.take(entries))

    def _call(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # a plugin may raise anything, and the others get theirs
            self._fault()


class _Table:
    """Records of a registry, and its watchers."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.registries: list[MemoryRegistry] = []

    def put(self, record: Record) -> None:
        """Set a record, and tell it."""
        self.records[record.key] = record
        for each in tuple(self.registries):
            each.call(lambda watcher: watcher.put(record))

    def drop(self, record: Record) -> None:
        """Remove a record, and tell it."""
        if self.records.pop(record.key, None) is not None:
            for each in tuple(self.registries):
                each.call(lambda watcher: watcher.gone(record))


class MemoryRegistry:
    """Registry of this process."""

    def __init__(self, table: _Table, origin: str, watcher: Watcher, fault: Fault) -> None:
        self._table = table
        self._origin = origin
        self._watcher = watcher
        self._fault = fault
        self._own: set[str] = set()
        for record in tuple(table.records.values()):
            self.call(lambda watcher, record=record: watcher.put(record))  # type: ignore[misc]
        table.registries.append(self)

    complete = True

    @property
    def records(self) -> Mapping[str, Record]:
        """Records by key."""
        return MappingProxyType(self._table.records)

    async def claim(self, key: str, value: bytes) -> bool:
        """Take a key that is free."""
        check_name(key)
        check_data(value)
        if key in self._table.records:
            return False
        self._own.add(key)
        self._table.put(Record(key, value, self._origin))
        return True

    def change(self, key: str, value: bytes) -> None:
        """Give an own key another value."""
        check_data(value)
        if key not in self._own:
            raise KeyError(key)
        if self._table.records[key].value != value:
            self._table.put(Record(key, value, self._origin))

    def release(self, key: str) -> None:
        """Give up a key."""
        if key in self._own:
            self._own.discard(key)
            self._table.drop(self._table.records[key])

    def close(self) -> None:
        """Release every key, and end the watch."""
        if self in self._table.registries:
            for key in tuple(self._own):
                self.release(key)
            self._table.registries.remove(self)

    def call(self, call: Callable[[Watcher], None]) -> None:
        """Call the watcher."""
        try:
            call(self._watcher)
        except Exception:  # a plugin may raise anything
            self._fault()
