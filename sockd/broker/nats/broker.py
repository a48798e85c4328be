"""Broker `nats`: one stream of a NATS cluster for all services of all daemons that share its name.

    NAME.log.SERVICE.SUBJECT              batches of entries; `keep` of each subject are kept
    NAME.key.SERVICE.REGISTRY.KEY         last record of each key
    NAME.turn.SERVICE.SUBJECT             process that asks to be first
    NAME.live.ORIGIN                      signs of life of a process

Each process gets everything in the order of the stream. `cursor` is the place up to which it has it; after a
loss of the connection, or of the server's consumer, it goes on behind that place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sockd.broker.contract import BrokerAway, Receiver, State, Watcher
from sockd.broker.names import token
from sockd.broker.nats.connection import Connection
from sockd.broker.nats.jetstream import Stored, Stream, StreamState
from sockd.broker.nats.line import WANTED
from sockd.broker.nats.link import Identity, Link
from sockd.broker.nats.log import Log
from sockd.broker.nats.session import BEAT, Session
from sockd.broker.nats.subscription import LogSubject
from sockd.broker.nats.table import StreamRegistry, Table
from sockd.broker.scope import Fault
from sockd.config import Server

LAST_WORDS = 2.0
"""Seconds at the end for what waits to be stored."""

TICK = 0.02
"""Seconds between two looks at whether all is stored, at the end."""

LONG_AWAY = 12 * 3600.0
"""Seconds after which registries are read anew: half of the time for which the ends of records are kept."""

GONE = float("-inf")
"""Time of the last sign of life of a process that has ended in order."""

NOT_YET = "the broker has not been reached yet"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the broker.

    Attributes:
        servers: servers to begin with.
        identity: proof of who this client is.
        name: of the stream.
        replicas: servers that have it.
        keep: batches that are kept of each subject.
        store: bytes that the stream may have.
        expiry: seconds without a sign of life after which the keys of a process are free.
    """

    servers: tuple[Server, ...]
    identity: Identity
    name: str
    replicas: int
    keep: int
    store: int
    expiry: float

    @property
    def stream(self) -> Mapping[str, Any]:
        """Configuration of the stream.

        A full stream refuses what is new: to drop the oldest could drop the only message of a quiet subject,
        which has its number.
        """
        return {
            "retention": "limits",
            "storage": "file",
            "num_replicas": self.replicas,
            "max_msgs_per_subject": self.keep,
            "max_bytes": self.store,
            "discard": "new",
            "allow_rollup_hdrs": True,
            "allow_msg_ttl": True,
            "allow_direct": True,
        }


class NatsBroker:
    """Broker over a NATS cluster.

    Args:
        settings: what is configured.
        origin: name of this process.
        reactor: connects, and keeps the time.
        told: told of each change of the state with its reason, and of each failed try to connect.
        fault: called for an exception that is a fault of sockd itself.
        now: time of day, in seconds since 1970.
    """

    shared = True

    def __init__(
        self,
        settings: Settings,
        origin: str,
        reactor: Any,
        told: Callable[[State, str], None],
        fault: Callable[[Failure], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.origin = origin
        self.cursor = 0
        self.state: State = "away"
        self.why = NOT_YET
        self.now = now
        self._settings = settings
        self._reactor = reactor
        self._told = told
        self._fault = fault
        self._watches: list[Callable[[State], None]] = []
        self._link = Link(settings.servers, settings.identity, self, reactor, self._failed_to_connect)
        self._session: Session | None = None
        self._stream: Stream | None = None
        self._created = ""
        self._another = False
        self._stopping = False
        self._left_at = 0.0
        self._connected_at = 0.0
        self._heard: dict[str, float] = {}
        self._logs: dict[str, Log] = {}
        self._tables: dict[str, Table] = {}
        self._loading: list[Deferred[None]] = []
        self._counts = count(1)

    # Core.

    @property
    def server(self) -> str:
        """Address of the server in use; empty without one."""
        return str(self._link.server) if self._session is not None else ""

    def start(self) -> None:
        """Begin to connect."""
        self._link.start()

    async def stop(self) -> None:
        """Publish what waits, as far as that is quick, and disconnect."""
        self._stopping = True
        until = self._reactor.seconds() + LAST_WORDS
        while self._stream is not None and self._busy() and self._reactor.seconds() < until:
            await deferLater(self._reactor, TICK)
        if self._session is not None and self._stream is not None:
            self._session.leave()
            with suppress(BrokerAway, TimedOut):  # the end does not wait for a broker
                await self._stream.connection.ping().addTimeout(LAST_WORDS, self._reactor)
        self._link.stop()

    def watch(self, told: Callable[[State], None]) -> Callable[[], None]:
        """Have each change of the state told."""
        self._watches.append(told)
        return lambda: self._watches.remove(told) if told in self._watches else None

    def subject(
        self, service: str, name: str, receiver: Receiver, after: int | None, fault: Fault
    ) -> LogSubject:
        """Subscribe to a subject."""
        subject = f"{self._settings.name}.log.{token(service)}.{token(name)}"
        log = self._logs.get(subject)
        if log is None:
            log = self._logs[subject] = Log(self, subject, self._reactor)
        return LogSubject(log, receiver, after, fault, self._tidy)

    def registry(self, service: str, name: str, watcher: Watcher, fault: Fault) -> StreamRegistry:
        """Join a registry."""
        prefix = f"{self._settings.name}.key.{token(service)}.{token(name)}."
        table = self._tables.get(prefix)
        if table is None:
            table = self._tables[prefix] = Table(self, prefix, self._reactor)
            self._load()
        return StreamRegistry(table, watcher, fault, self._tidy)

    def _busy(self) -> bool:
        logs, tables = self._logs.values(), self._tables.values()
        return any(each.busy for each in logs) or any(each.busy for each in tables)

    def _tidy(self) -> None:
        """Forget what has no subscribers any more, once it has nothing to publish."""
        for subject, log in list(self._logs.items()):
            if not log.subscribers and not log.busy:
                del self._logs[subject]
        for prefix, table in list(self._tables.items()):
            if not table.registries and not table.busy and self.origin not in table.origins:
                del self._tables[prefix]

    # Line of the subjects and the registries.

    @property
    def stream(self) -> Stream | None:
        """The stream, while it can be used."""
        return self._stream

    @property
    def away(self) -> str:
        """Reason for which nothing can be published; empty while it can."""
        return self.why

    def count(self) -> int:
        """Return the next number for a batch."""
        return next(self._counts)

    def doubt(self) -> None:
        """Find out at once whether the stream can be used."""
        if self._session is not None:
            self._session.doubt()

    # Owner of the link's connection.

    def connected(self, connection: Connection) -> None:
        """Begin a session."""
        settings = self._settings
        self._session = Session(connection, settings.name, settings.stream, self, self._reactor, self._fault)
        self._session.start()

    def lost(self, connection: Connection, reason: str) -> None:  # noqa: ARG002  # as Owner has it
        """End the session."""
        if self._session is not None:
            self._session.end()
            for each in tuple(self._loading):
                each.cancel()
            self._left_at = self._reactor.seconds()
        self._session = self._stream = None
        if not self._stopping:
            self._change("away", reason)

    def _failed_to_connect(self, reason: str) -> None:
        if self.state == "away":
            self._change("away", reason)

    # The session.

    def begin(self, state: StreamState) -> None:
        """Go on behind the cursor; or at the end, and read the rest anew."""
        another = state.created != self._created or state.last < self.cursor
        long_away = self._left_at and self._reactor.seconds() - self._left_at > LONG_AWAY
        if another:
            self.cursor = state.last
        if another or long_away:
            for table in self._tables.values():
                table.forget()
        self._created = state.created
        self._another = another

    def deliver(self, stored: Stored) -> None:
        """Hand a message to the subject or the registry that it is for."""
        _, kind, rest = f"{stored.subject}..".split(".", 2)
        if kind == "log":
            log = self._logs.get(stored.subject)
            if log is not None:
                log.take(stored)
        elif kind == "key":
            table = self._tables.get(stored.subject[: stored.subject.rindex(".") + 1])
            if table is not None:
                table.take(stored)
        elif kind == "turn":
            log = self._logs.get(stored.subject.replace(".turn.", ".log.", 1))
            if log is not None:
                origin = stored.data[1:].decode("ascii", "replace")
                (log.take_turn if stored.data[:1] == WANTED else log.end_turn)(origin)
        elif kind == "live":
            self._heard[rest.rstrip(".")] = self._reactor.seconds() if stored.data else GONE

    def ready(self, stream: Stream) -> None:
        """Have subjects and registries go on."""
        first = self._stream is not stream
        lost, self._another = self._another, False
        self._stream = stream
        if first or lost:
            for log in tuple(self._logs.values()):
                log.resume(lost=lost)
            for table in tuple(self._tables.values()):
                table.resume()
            self._load()

    def _load(self) -> None:
        if self._session is not None and self._stream is not None:
            for table in tuple(self._tables.values()):
                if not table.loaded and not table.loading:
                    table.loading = True
                    loading = Deferred.fromCoroutine(self._session.load(table.prefix, table.take))
                    self._loading.append(loading)
                    loading.addBoth(self._loaded, loading, table)

    def _loaded(self, result: Any, loading: Deferred[None], table: Table) -> None:
        self._loading.remove(loading)
        table.loading = False
        if isinstance(result, Failure):
            result.trap(BrokerAway, CancelledError)  # tried again after the next sign of life
        else:
            table.load()

    def live(self) -> None:
        """Take note that messages are stored and delivered."""
        now = self._reactor.seconds()
        stuck = next((log.stuck for log in self._logs.values() if log.stuck), "")
        if stuck:
            self._change("away", stuck)
        elif self.state == "away":
            self._connected_at = now
            self._change("connected", "")
        self._load()
        self._tidy()
        self._drop_dead(now)

    def _drop_dead(self, now: float) -> None:
        """Free the keys of processes that give no sign of life.

        All that was stored before the own sign of life has been read now, so their last ones are known. After
        an outage of the broker the others have the time of expiry to come back.
        """
        origins = {origin for table in self._tables.values() for origin in table.origins} - {self.origin}
        patient = now - self._connected_at < self._settings.expiry
        dead = set()
        for origin in origins:
            heard = self._heard.setdefault(origin, now)
            if heard == GONE or (not patient and now - heard > self._settings.expiry):
                dead.add(origin)
        for origin in [each for each in self._heard if each not in origins]:
            if now - self._heard[origin] > max(self._settings.expiry, 2 * BEAT):
                del self._heard[origin]
        if dead:
            for table in self._tables.values():
                table.drop(dead)

    def missing(self, reason: str) -> None:
        """Take note that messages are not stored, or not delivered."""
        self._change("away", reason)

    def _change(self, state: State, why: str) -> None:
        first = self.why == NOT_YET
        former, self.state, self.why = self.state, state, why
        if first or former != state:
            self._told(state, why)
        if former != state:
            for each in tuple(self._watches):
                each(state)
