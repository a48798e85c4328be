"""Judgement of a server under attack."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.zoo.servers import MOST, UNREAD
from benchmarks.zoo.trial import REFILLED, Trial

SLOWER = 2.0
"""Factor by which the good peer's p99 may grow."""

UNFELT = 0.025
"""Seconds of p99 that are always accepted: a reactor accepts a hundred connections in a turn, which takes
some ten milliseconds, and a request may have to wait for two turns."""

CROWD_UNFELT = 0.050
"""Seconds of p99 that are accepted where twenty peers use up their turns on purpose (fault 9)."""

CROWDS = frozenset({"pipeliner", "giant-line", "non-reader", "stopped"})

EACH = 64 * 1024
"""Bytes that one connection may take besides what its peer leaves unread: a read and TLS's own records."""

MEMORY = UNREAD + MOST * EACH
"""Bytes by which a server may grow."""


def faults(trial: Trial) -> Iterator[str]:
    """Describe what the server did not withstand."""
    calm, felt = trial.calm, trial.attacked
    bound = max(SLOWER * calm.p99, CROWD_UNFELT if trial.beast in CROWDS else UNFELT)
    if felt.p99 > bound:
        yield f"p99: expected at most {bound * 1e3:.1f} ms, found {felt.p99 * 1e3:.1f} ms"
    if felt.lost:
        yield f"the good peer lost its connection, or waited for nothing, {felt.lost} times"
    if felt.served < felt.newcomers and trial.beast != "descriptors":
        yield f"newcomers: expected all {felt.newcomers} to be served, found {felt.served}"
    if (grown := trial.worst.resident - trial.before.resident) > MEMORY:
        yield f"memory: expected at most {MEMORY / 1e6:.0f} MB more, found {grown / 1e6:.0f} MB"
    if (left := trial.after.descriptors - trial.before.descriptors) > 0:
        yield f"descriptors: {left} more than before"
    if trial.refilled < REFILLED:
        yield f"places: expected {REFILLED} from one address afterwards, found {trial.refilled}"
    if trial.left_open is None and trial.server == "sockd":
        yield "it did not end in order"
    elif trial.left_open:
        yield f"connections: it still counted {trial.left_open} when all were closed"
