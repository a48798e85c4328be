"""Table of the results."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.zoo import verdict
from benchmarks.zoo.trial import Trial

HEAD = (
    "bad peer", "service", "server", "p50 calm", "p50", "p99 calm", "p99", "lost", "newcomers",
    "MB before", "worst", "after", "fds before", "worst", "after", "stood",
)  # fmt: skip


def markdown(trials: Iterable[Trial]) -> str:
    """Format a row for each trial, in Markdown; times in milliseconds."""
    rows = [HEAD, ("---",) * 3 + ("---:",) * (len(HEAD) - 4) + ("---",), *map(_row, trials)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(trial: Trial) -> tuple[str, ...]:
    calm, felt = trial.calm, trial.attacked
    times = (f"{seconds * 1e3:.2f}" for seconds in (calm.p50, felt.p50, calm.p99, felt.p99))
    sizes = trial.before, trial.worst, trial.after
    return (
        trial.beast,
        trial.kind,
        trial.server,
        *times,
        str(felt.lost),
        f"{felt.served}/{felt.newcomers}",
        *(f"{size.resident / 1e6:.0f}" for size in sizes),
        *(str(size.descriptors) for size in sizes),
        "no" if any(verdict.faults(trial)) else "yes",
    )
