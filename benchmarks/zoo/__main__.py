"""Command `python -m benchmarks.zoo`, run from the root of the repository."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatch
from typing import get_args

import click
from rich.console import Console

from benchmarks import machine
from benchmarks.processes import MeasureError
from benchmarks.zoo import table, verdict
from benchmarks.zoo.attack import BEASTS
from benchmarks.zoo.servers import Name
from benchmarks.zoo.target import KINDS, Kind
from benchmarks.zoo.trial import Trial, absent, attempt

FULL, QUICK = 6.0, 1.0
"""Seconds of each attack. The full ones outlast every deadline of the configuration."""

Plan = tuple[str, Kind, Name]


def plan(
    only: tuple[str, ...], on: tuple[Kind, ...], servers: tuple[Name, ...], *, quick: bool
) -> list[Plan]:
    """Return the trials: which bad peer attacks which service of which server."""
    chosen: list[Plan] = []
    for name, beast in BEASTS.items():
        if only and not any(fnmatch(name, pattern) for pattern in only):
            continue
        kinds = on or (beast.kinds[:1] if quick else beast.kinds)
        chosen += [
            (name, kind, server)
            for kind in kinds
            for server in servers
            if server == "sockd" or on or kind == kinds[0]  # one comparison is enough
        ]
    return chosen


def _trials(chosen: list[Plan], seconds: float, console: Console, missing: list[str]) -> Iterator[Trial]:
    cores = machine.cores()
    with console.status("") as status:
        for number, (beast, kind, server) in enumerate(chosen, 1):
            status.update(f"{number} of {len(chosen)}: {beast} on {kind} of {server}")
            if reason := absent(beast, kind, server):
                console.print(f"not tried: {beast} on {kind} of {server}: {reason}", markup=False)
                continue
            try:
                yield attempt(beast, kind, server, seconds, cores)
            except MeasureError as error:
                missing.append(f"{beast} on {kind} of {server}: {error}")


@click.command()
@click.option("--quick", is_flag=True, help="A second of each, on one service each, of sockd alone.")
@click.option("--only", multiple=True, metavar="NAME", help="Such as dribbler or 'half-*'; may be repeated.")
@click.option("--on", multiple=True, type=click.Choice(KINDS), help="Other services than the usual ones.")
@click.option(
    "--server",
    "servers",
    multiple=True,
    type=click.Choice(get_args(Name)),
    help="Only this one; both unless it is quick.",
)
def main(quick: bool, only: tuple[str, ...], on: tuple[Kind, ...], servers: tuple[Name, ...]) -> None:
    """Let each bad peer attack sockd, and plain Twisted; fails if sockd does not withstand one of them."""
    console = Console()
    chosen = plan(only, on, servers or (("sockd",) if quick else ("sockd", "twisted")), quick=quick)
    if not chosen:
        raise click.BadParameter(f"expected one of {', '.join(BEASTS)}", param_hint="--only")
    others = machine.Others(set(machine.cores()))
    seconds = QUICK if quick else FULL
    missing: list[str] = []
    trials = list(_trials(chosen, seconds, console, missing))
    conditions = (
        f"{seconds:g} s of each attack; {machine.description()}, {datetime.now():%Y-%m-%d}; "
        f"others used {others.share():.0%} of the cores."
    )
    print(f"\n{table.markdown(trials)}\n{conditions}")  # noqa: T201
    broken = {trial: list(verdict.faults(trial)) for trial in trials}
    for trial, faults in broken.items():
        for fault in faults:
            print(f"{trial.server}: {trial.beast} on {trial.kind}: {fault}")  # noqa: T201
    print(*(f"not measured: {what}" for what in missing), sep="\n")  # noqa: T201
    sys.exit(bool(missing) or any(faults for trial, faults in broken.items() if trial.server == "sockd"))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.zoo")
