"""What the daemon was seen to have, look by look, and whether that is what it should have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import linear_regression

from benchmarks.soak.daemon import Held

WARMING = 1 / 2
"""Of the time, until the memory counts: caches, tables of sources and the allocator's arenas fill first."""

SLOPE = 20.0
"""KB of growth in a minute that would be a leak; it is 29 MB in a day."""

MINUTES = 10.0
"""A run from which on the slope is judged: in a shorter one it is that of the caches."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the daemon.

    Attributes:
        seconds: since the load began.
        generation: how often its workers were replaced by others.
        private: KB of memory that its processes have written to and share with nobody.
        first: KB of it of the first process alone, which has the workers if there are any.
        resident: KB of memory in all.
        descriptors: that are open.
        timers: calls that wait for their time, as it says itself.
        threads: that it has.
        connections: that are open or on their way in, as it says itself.
        delay: seconds that the reactor's timers are late, as it says itself.
        daemon_cpu: seconds of processor time that it has used.
        client_cpu: seconds of processor time that the load has used.
        visits: that clients have ended as they should.
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
    """How it ended.

    Attributes:
        before: what the daemon held when it was ready and nobody had come.
        after: when everybody was gone.
        open: connections then.
        exit_code: of the daemon.
        errors: what clients and the disturbances have met that should not be, and what the log has of faults.
    """

    before: Held
    after: Held
    open: int
    exit_code: int
    errors: Sequence[str]


def slope(looks: Sequence[Look], memory: Callable[[Look], int] = lambda look: look.private) -> float:
    """KB by which a memory grows in a minute, over the second half of the looks."""
    counted = [look for look in looks if look.seconds >= looks[-1].seconds * WARMING]
    if len(counted) < 2:
        return 0.0
    minutes = [look.seconds / 60 for look in counted]
    return linear_regression(minutes, list(map(memory, counted))).slope


def at_one_age(looks: Sequence[Look]) -> list[Look]:
    """Of each generation that has ended the last look, as new workers begin with little; of one all looks."""
    if looks[-1].generation == looks[0].generation:
        return list(looks)
    return [look for look, later in pairwise(looks) if look.generation != later.generation]


def faults(looks: Sequence[Look], end: End) -> list[str]:
    """What is not as it should be, in one line each."""
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
