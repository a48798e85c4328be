"""Processes that take part in a broker, all in this one: each with a broker of its own, and a receiver."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sockd.broker import Draft, Entry, Record, State, Subject
from sockd.broker.nats.broker import NatsBroker, Settings
from sockd.broker.nats.link import Identity
from sockd.broker.scope import Core, Scope
from sockd.config import server_of

PATIENCE = 60.0
"""Seconds until a test fails."""

reactor = cast("Any", global_reactor)
_NAMES = count(1)


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for a condition."""
    end = reactor.seconds() + PATIENCE
    while not condition():
        assert reactor.seconds() < end, what or "waited in vain"
        await deferLater(reactor, 0.005)


class Reader:
    """Receiver that keeps everything."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.missed: list[tuple[int, int]] = []

    def take(self, entries: Sequence[Entry]) -> None:
        self.entries += entries

    def miss(self, first: int, last: int) -> None:
        self.missed.append((first, last))

    @property
    def numbers(self) -> list[int]:
        return [entry.number for entry in self.entries if entry.numbered]

    @property
    def texts(self) -> list[str]:
        return [entry.data.decode() for entry in self.entries]


class Looker:
    """Watcher that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.known: dict[str, str] = {}

    def put(self, record: Record) -> None:
        self.known[record.key] = record.value.decode()
        self.told.append(f"{record.key}={record.value.decode()}")

    def gone(self, record: Record) -> None:
        del self.known[record.key]
        self.told.append(f"{record.key} gone")


def said(*texts: str) -> list[Draft]:
    return [Draft(text.encode()) for text in texts]


class Party:
    """Process that takes part.

    Args:
        core: its broker.
        service: the service in whose name it speaks.
    """

    def __init__(self, core: Core, service: str = "chat") -> None:
        self.core = core
        self.faults: list[str] = []
        self.broker = Scope(core, service, lambda: self.faults.append(traceback.format_exc()))
        self.reader = Reader()
        self.looker = Looker()
        self._subjects: dict[str, Subject] = {}

    def enter(self, name: str = "ops", after: int | None = 0) -> Subject:
        """Subscribe to a subject."""
        return self.broker.subject(name, self.reader, after)

    @property
    def connected(self) -> bool:
        return self.broker.state == "connected"

    async def stop(self) -> None:
        self.broker.close()
        await self.core.stop()


class Nats:
    """Maker of parties at servers of NATS.

    Args:
        urls: of the servers.
        name: of the stream, of its own for each test.
    """

    def __init__(self, *urls: str, name: str = "", replicas: int = 1, **identity: Any) -> None:
        self.name = name or f"test{next(_NAMES)}"
        self.urls = urls
        self.faults: list[Failure] = []
        self.states: list[tuple[State, str]] = []
        self._replicas = replicas
        self._identity = Identity(**identity)
        self._parties: list[Party] = []

    def core(self, *urls: str, expiry: float = 6.0, keep: int = 1000, store: int = 10**7) -> NatsBroker:
        """Return a broker that connects."""
        servers = tuple(server_of(url) for url in urls or self.urls)
        settings = Settings(servers, self._identity, self.name, self._replicas, keep, store, expiry)
        origin = f"o{next(_NAMES)}"
        told = lambda state, why: self.states.append((state, why))  # noqa: E731
        core = NatsBroker(settings, origin, reactor, told, self.faults.append)
        core.start()
        return core

    async def party(self, *urls: str, **settings: Any) -> Party:
        """Return a party that is connected."""
        party = self.absent(*urls, **settings)
        await until(lambda: party.connected, f"not connected: {party.core.why}")
        return party

    def absent(self, *urls: str, **settings: Any) -> Party:
        """Return a party that may connect later."""
        self._parties.append(Party(self.core(*urls, **settings)))
        return self._parties[-1]

    async def stop(self) -> None:
        """End every party."""
        for party in self._parties:
            await party.stop()
        assert not self.faults, self.faults
        assert not [fault for party in self._parties for fault in party.faults]
