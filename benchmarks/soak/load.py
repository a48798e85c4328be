"""Clients in a process of their own, each doing its visit again and again at its pace."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks.processes import HOST
from benchmarks.soak.configuration import DRAIN_TIMEOUT, HOST_6, Places
from benchmarks.soak.stream import Place

TELL_EVERY = 1.0
"""Seconds."""

MOST_ERRORS = 20
"""That one process tells in full: what goes wrong every time is clear by then."""

END_TIMEOUT = 60.0
"""Seconds for all clients to come to the end of what they are at."""

AFTER_UPGRADE = DRAIN_TIMEOUT + 5.0
"""Seconds from an upgrade on in which the former workers end; others use the machine too."""

_spawning = get_context("spawn")  # the load has nothing of the one that starts it


@dataclass(slots=True)
class World:
    """What a visit needs.

    Attributes:
        places: where the daemon is.
        random: for sizes and times.
        over: set once the load is to end.
        number: of visits that have begun, for names that nobody else has.
    """

    places: Places
    random: random.Random
    over: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = 0

    def port(self, name: str) -> tuple[str, int]:
        """A TCP or UDP port."""
        return HOST, self.places.ports[name]

    def port_6(self, name: str) -> tuple[str, int]:
        """The same over IPv6."""
        return HOST_6, self.places.ports[name]

    def path(self, name: str) -> Path:
        """A UNIX socket."""
        return self.places.folder / "run" / f"{name}.sock"

    def either(self, name: str) -> Place:
        """A service over TCP or over its UNIX socket."""
        return self.random.choice((self.port(name), self.path(name)))

    def any(self, name: str) -> Place:
        """A service over TCP on IPv4 or IPv6, or over its UNIX socket."""
        return self.random.choice((self.port(name), self.port_6(name), self.path(name)))

    def any_port(self, name: str) -> tuple[str, int]:
        """A service over IPv4 or IPv6."""
        return self.random.choice((self.port(name), self.port_6(name)))

    def name(self) -> str:
        """One that nobody else has."""
        self.number += 1
        return f"u{self.random.randrange(1_000_000):06}-{self.number}"

    def data(self, least: int = 64, most: int = 65_536) -> bytes:
        """Some bytes; small ones are as frequent as large ones."""
        size = round(least * (most / least) ** self.random.random())
        return self.random.randbytes(size)

    async def rest(self, seconds: float) -> bool:
        """Wait, at most until the load ends; whether it goes on."""
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            return True
        return False


Visit = Callable[[World], Awaitable[None]]

Paces = Sequence[tuple[Visit, float]]
"""What is done, and the seconds between two, on average."""


@dataclass(frozen=True, slots=True)
class Report:
    """What has happened in a process since its last one; the processor time is since its start."""

    process: str
    visits: Counter[str]
    errors: list[str]
    failed: int
    cpu: float


class Upgrade:
    """When the latest one was, for all processes: it ends connections that outlast `drain_timeout`."""

    def __init__(self) -> None:
        self._begun: Synchronized[float] = _spawning.Value("d", -math.inf)
        self._over: Synchronized[float] = _spawning.Value("d", -math.inf)

    def begin(self) -> None:
        """From now on."""
        self._begun.value, self._over.value = time.monotonic(), math.inf

    def end(self) -> None:
        """The new workers serve; the former ones have some seconds."""
        self._over.value = time.monotonic() + AFTER_UPGRADE

    def met_since(self, began: float) -> bool:
        """Whether what began then may have lost a connection to it."""
        return self._begun.value <= time.monotonic() and began <= self._over.value


class Load:
    """The processes of clients.

    Attributes:
        visits: that have ended as they should, by kind.
        errors: what went wrong, in words.
        failed: how often something went wrong.
        upgrade: has to be told of each.
    """

    def __init__(
        self,
        processes: Sequence[BaseProcess],
        over: Event,
        reports: SimpleQueue[Report],
        upgrade: Upgrade,
    ) -> None:
        self.upgrade = upgrade
        self.visits: Counter[str] = Counter()
        self.errors: list[str] = []
        self.failed = 0
        self._cpu: dict[str, float] = {}
        self._processes = processes
        self._over = over
        self._reports = reports

    @property
    def cpu(self) -> float:
        """Seconds of processor time that all have used."""
        return sum(self._cpu.values())

    def listen(self) -> None:
        """Take what the clients have told, and see whether all of them are there."""
        while not self._reports.empty():
            report = self._reports.get()
            self.visits += report.visits
            self.errors += report.errors
            self.failed += report.failed
            self._cpu[report.process] = report.cpu
        for process in self._processes:
            if process.exitcode:
                self.errors.append(f"client process {process.name} ended with {process.exitcode}")

    def end(self) -> None:
        """Let all visits come to their end."""
        self._over.set()
        until = time.monotonic() + END_TIMEOUT
        while any(process.is_alive() for process in self._processes) and time.monotonic() < until:
            self.listen()
            time.sleep(0.1)
        self.listen()
        for process in self._processes:
            if process.is_alive():
                self.errors.append(f"client process {process.name} does not end")


@contextmanager
def loading(places: Places, kinds: Sequence[str]) -> Iterator[Load]:
    """Clients of each kind, which are the names of modules of this package with `PACES` and `LASTING`."""
    over, reports, upgrade = _spawning.Event(), _spawning.SimpleQueue(), Upgrade()
    processes = [
        _spawning.Process(target=_work, name=kind, args=(kind, places, over, reports, upgrade), daemon=True)
        for kind in kinds
    ]
    for process in processes:
        process.start()
    try:
        yield Load(processes, over, reports, upgrade)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _work(kind: str, places: Places, over: Event, reports: SimpleQueue[Report], upgrade: Upgrade) -> None:
    """What a process of clients does."""
    from importlib import import_module

    module = import_module(f"benchmarks.soak.{kind}")
    world = World(places, random.Random(kind))  # noqa: S311  # no secret
    asyncio.run(_visit_all(kind, module.PACES, module.LASTING, world, over, reports, upgrade))


async def _visit_all(
    kind: str,
    paces: Paces,
    lasting: Collection[Visit],
    world: World,
    over: Event,
    reports: SimpleQueue[Report],
    upgrade: Upgrade,
) -> None:
    visits: Counter[str] = Counter()
    errors: list[str] = []
    tasks = [
        asyncio.create_task(
            _repeat(visit, pause, world, visits, errors, upgrade if visit in lasting else None)
        )
        for visit, pause in paces
    ]
    told: Counter[str] = Counter()
    told_errors = 0
    while True:
        await asyncio.wait(tasks, timeout=TELL_EVERY)
        new = errors[told_errors:]
        told_in_full = new[: max(0, MOST_ERRORS - told_errors)]
        reports.put(Report(kind, visits - told, told_in_full, len(new), time.process_time()))
        told, told_errors = visits.copy(), len(errors)
        if all(task.done() for task in tasks):
            return
        if over.is_set():
            world.over.set()


async def _repeat(
    visit: Visit,
    seconds: float,
    world: World,
    visits: Counter[str],
    errors: list[str],
    upgrade: Upgrade | None,
) -> None:
    """One after another until the load ends; an upgrade may end those that are lasting."""
    name = visit.__name__
    while await world.rest(world.random.expovariate(1 / seconds)):
        began = time.monotonic()
        try:
            await visit(world)
        except Exception as error:  # whatever goes wrong is what is looked for
            if upgrade is not None and upgrade.met_since(began):
                visits[f"{name}, ended by an upgrade"] += 1
                continue
            errors.append(f"{time.strftime('%H:%M:%S')} {name}: {type(error).__name__}: {error}")
        else:
            visits[name] += 1
