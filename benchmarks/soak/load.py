"""Clients in a process of their own; each kind repeats its visit at its pace."""

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
"""Seconds between two reports of a process."""

MOST_ERRORS = 20
"""Errors that one process reports in full; more of the same would add nothing."""

END_TIMEOUT = 60.0
"""Seconds for all clients to end their visits."""

AFTER_UPGRADE = DRAIN_TIMEOUT + 5.0
"""Seconds after an upgrade in which the former workers end, on a busy machine."""

_spawning = get_context("spawn")  # the load inherits nothing of the process that starts it


@dataclass(slots=True)
class World:
    """Environment of a visit.

    Attributes:
        places: addresses and files of the daemon.
        random: for sizes and times.
        over: set when the load has to end.
        number: of visits that have begun, for unique names.
    """

    places: Places
    random: random.Random
    over: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = 0

    def port(self, name: str) -> tuple[str, int]:
        """Return the address of a TCP or UDP port."""
        return HOST, self.places.ports[name]

    def port_6(self, name: str) -> tuple[str, int]:
        """Return the address of a port over IPv6."""
        return HOST_6, self.places.ports[name]

    def path(self, name: str) -> Path:
        """Return the path of a UNIX socket."""
        return self.places.folder / "run" / f"{name}.sock"

    def either(self, name: str) -> Place:
        """Return the address of a service over TCP or over its UNIX socket."""
        return self.random.choice((self.port(name), self.path(name)))

    def any(self, name: str) -> Place:
        """Return the address of a service over TCP on IPv4 or IPv6, or over its UNIX socket."""
        return self.random.choice((self.port(name), self.port_6(name), self.path(name)))

    def any_port(self, name: str) -> tuple[str, int]:
        """Return the address of a service over IPv4 or IPv6."""
        return self.random.choice((self.port(name), self.port_6(name)))

    def name(self) -> str:
        """Return a unique name."""
        self.number += 1
        return f"u{self.random.randrange(1_000_000):06}-{self.number}"

    def data(self, least: int = 64, most: int = 65_536) -> bytes:
        """Return some bytes; small sizes are as frequent as large ones."""
        size = round(least * (most / least) ** self.random.random())
        return self.random.randbytes(size)

    async def rest(self, seconds: float) -> bool:
        """Wait, at most until the load ends; return whether it goes on."""
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            return True
        return False


Visit = Callable[[World], Awaitable[None]]

Paces = Sequence[tuple[Visit, float]]
"""Visits, each with the average seconds between two."""


@dataclass(frozen=True, slots=True)
class Report:
    """Events in a process since its last report; the processor time is counted from its start."""

    process: str
    visits: Counter[str]
    errors: list[str]
    failed: int
    cpu: float


class Upgrade:
    """Time of the latest upgrade, for all processes: it ends connections that outlast `drain_timeout`."""

    def __init__(self) -> None:
        self._begun: Synchronized[float] = _spawning.Value("d", -math.inf)
        self._over: Synchronized[float] = _spawning.Value("d", -math.inf)

    def begin(self) -> None:
        """Note that an upgrade begins."""
        self._begun.value, self._over.value = time.monotonic(), math.inf

    def end(self) -> None:
        """Note that the new workers serve; the former ones have some seconds left."""
        self._over.value = time.monotonic() + AFTER_UPGRADE

    def met_since(self, began: float) -> bool:
        """Tell whether a visit that began at a time may have lost a connection to the upgrade."""
        return self._begun.value <= time.monotonic() and began <= self._over.value


class Load:
    """Processes of clients.

    Attributes:
        visits: that have ended correctly, by kind.
        errors: descriptions of what went wrong.
        failed: how often something went wrong.
        upgrade: records the time of each upgrade.
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
        """Seconds of processor time of all processes."""
        return sum(self._cpu.values())

    def listen(self) -> None:
        """Take the reports of the clients, and check that all processes run."""
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
        """Let all visits end."""
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
    """Start clients of each kind, which are names of modules of this package with `PACES` and `LASTING`."""
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
    """Run the visits of one process of clients."""
    from importlib import import_module

    module = import_module(f"benchmarks.soak.{kind}")
    world = World(places, random.Random(kind))  # noqa: S311  # not for a secret
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
    """Repeat a visit until the load ends; an upgrade may end a lasting one."""
    name = visit.__name__
    while await world.rest(world.random.expovariate(1 / seconds)):
        began = time.monotonic()
        try:
            await visit(world)
        except Exception as error:  # every error is a result
            if upgrade is not None and upgrade.met_since(began):
                visits[f"{name}, ended by an upgrade"] += 1
                continue
            errors.append(f"{time.strftime('%H:%M:%S')} {name}: {type(error).__name__}: {error}")
        else:
            visits[name] += 1
