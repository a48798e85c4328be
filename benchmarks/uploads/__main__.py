"""Command `python -m benchmarks.uploads`, run from the root of the repository."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from statistics import median

import click
from rich.console import Console

from benchmarks import machine
from benchmarks.processes import MeasureError
from benchmarks.uploads.measure import Sample, measure
from benchmarks.uploads.receivers import RECEIVERS, Receiver

ROUNDS = 5

SIZE = 256 << 20
"""Bytes of the file."""

QUICK_SIZE = 32 << 20


def table(samples: Mapping[str, Sequence[Sample]]) -> str:
    """Format the medians of each receiver, the cheapest first, in Markdown."""
    titles = {receiver.key: receiver.title for receiver in RECEIVERS}
    rows = ["| receiver | CPU s a GB | MB/s |", "| --- | ---: | ---: |"]
    found = {key: taken for key, taken in samples.items() if taken}
    for key in sorted(found, key=lambda key: median(sample.cost for sample in found[key])):
        cost, rate = (median(getattr(sample, what) for sample in found[key]) for what in ("cost", "rate"))
        rows.append(f"| {titles[key]} | {cost:.2f} | {rate:.0f} |")
    return "\n".join(rows)


def _rounds(
    chosen: Sequence[Receiver], rounds: int, size: int, folder: Path, console: Console
) -> dict[str, list[Sample]]:
    """Measure each receiver in turn, each round beginning with another."""
    file = folder / "f.bin"
    file.write_bytes(os.urandom(1 << 20) * (size >> 20))
    samples: dict[str, list[Sample]] = {receiver.key: [] for receiver in chosen}
    for number in range(rounds):
        first = number % len(chosen)
        for receiver in (*chosen[first:], *chosen[:first]):
            with console.status(f"round {number + 1} of {rounds}: {receiver.title}"):
                try:
                    sample = measure(receiver, file, folder / receiver.key, machine.cores())
                except (MeasureError, OSError) as error:
                    console.print(f"not measured: {receiver.title}: {error}", markup=False)
                    continue
                samples[receiver.key].append(sample)
    return samples


@click.command()
@click.option("--quick", is_flag=True, help="One round with a smaller file.")
@click.option(
    "--only", multiple=True, metavar="RECEIVER", help="Such as nginx or 'sockd-*'; may be repeated."
)
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="On the disk to receive to; by default that of temporary files.",
)
def main(quick: bool, only: tuple[str, ...], rounds: int, folder: Path | None) -> None:
    """Compare receivers of files: processor time for a gigabyte, and rate."""
    console = Console()
    chosen = []
    for receiver in RECEIVERS:
        if only and not any(fnmatch(receiver.key, pattern) for pattern in only):
            continue
        if reason := receiver.absent():
            console.print(f"left out: {receiver.title}: {reason}", markup=False)
        else:
            chosen.append(receiver)
    if not chosen:
        known = ", ".join(receiver.key for receiver in RECEIVERS)
        raise click.BadParameter(f"expected one of {known}", param_hint="--only")
    rounds, size = (1, QUICK_SIZE) if quick else (rounds, SIZE)
    others = machine.Others(set(machine.cores()))
    with tempfile.TemporaryDirectory(dir=folder, prefix="uploads-") as name:
        samples = _rounds(chosen, rounds, size, Path(name), console)
    print(  # noqa: T201
        f"\n{table(samples)}\n\nMedians of {rounds} rounds, a file of {size >> 20} MiB, receivers in turn, "
        f"receiver and sender on a core each. {machine.description()}, {datetime.now():%Y-%m-%d}. "
        f"Others used {others.share():.0%} of the cores meanwhile."
    )
    sys.exit(not all(samples.values()))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.uploads")
