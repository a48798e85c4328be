"""Samples of the daemon's resources, and the judgement of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import linear_regression

from benchmarks.soak.daemon import Held

WARMING = 1 / 2
"""Share of the time before the memory counts: caches, tables of sources and the allocator's arenas fill
first."""

SLOPE = 20.0
"""KB of growth per minute that count as a leak: 29 MB in a day."""

MINUTES = 10.0
"""Minutes of a run from which on the slope is judged; in a shorter one the caches dominate it."""


@dataclass(frozen=True, slots=True)
class Look:
    """Sample of the daemon's resources.

    Attributes:
        seconds: since the load began.
        generation: how often its workers were replaced.
        private: KB of memory that its processes have written to and do not share.
        first: KB of it of the first process alone, which is the parent of workers, if there are any.
        resident: KB of memory in all.
        descriptors: that are open.
        timers: delayed calls of the reactor, by its own report.
        threads: of all processes.
        connections: that are open or being accepted, by its own report.
        delay: seconds that the reactor's timers are late, by its own report.
        daemon_cpu: seconds of processor time of the daemon.
        client_cpu: seconds of processor time of the load.
        visits: that clients have ended correctly.
        errors: that clients have seen.
    """

    seconds: float
    generation: int
    private: int
    first: int
    resident: int
    descriptors: int
    timers: int
    threads: int
    connections: int
    delay: float
    daemon_cpu: float
    client_cpu: float
    visits: int
    errors: int


@dataclass(frozen=True, slots=True)
class End:
    """State of the daemon at the end.

    Attributes:
        before: resources when it was ready, before the first client.
        after: resources after the last client.
        open: connections then.
        exit_code: of the daemon.
        errors: of clients and disturbances, and faults in the log.
    """

    before: Held
    after: Held
    open: int
    exit_code: int
    errors: Sequence[str]


def slope(looks: Sequence[Look], memory: Callable[[Look], int] = lambda look: look.private) -> float:
    """Return the KB by which a memory grows per minute, over the second half of the samples."""
    counted = [look for look in looks if look.seconds >= looks[-1].seconds * WARMING]
    if len(counted) < 2:
        return 0.0
    minutes = [look.seconds / 60 for look in counted]
    return linear_regression(minutes, list(map(memory, counted))).slope


def at_one_age(looks: Sequence[Look]) -> list[Look]:
    """Return the last sample of each ended generation, because new workers begin small; of one generation
    all.
    """
    if looks[-1].generation == looks[0].generation:
        return list(looks)
    return [look for look, later in pairwise(looks) if look.generation != later.generation]


def faults(looks: Sequence[Look], end: End) -> list[str]:
    """Describe each fault in one line."""
    found = list(end.errors)
    for what in ("descriptors", "timers"):
        before, after = getattr(end.before, what), getattr(end.after, what)
        if after > before:
            found.append(f"expected {before} {what} at the end as at the start, found {after}")
    if end.open:
        found.append(f"expected no connection at the end, found {end.open}")
    if looks[-1].seconds >= MINUTES * 60:
        grown = slope(at_one_age(looks)), slope(looks, lambda look: look.first)
        if max(grown) > SLOPE:
            found.append(f"expected at most {SLOPE:g} KB a minute of growth, found {max(grown):.1f}")
    if end.exit_code:
        found.append(f"expected the daemon to end with 0, found {end.exit_code}")
    return found
