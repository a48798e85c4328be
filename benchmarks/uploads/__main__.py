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
from subprocess import TimeoutExpired

import click
from rich.console import Console

from benchmarks import machine
from benchmarks.processes import MeasureError
from benchmarks.uploads.measure import Sample, measure
from benchmarks.uploads.provision import provide
from benchmarks.uploads.receivers import RECEIVERS, Receiver
from benchmarks.uploads.small import COUNT, compare

ROUNDS = 5

SIZE = 256 << 20
"""Bytes of the file."""

QUICK_SIZE = 32 << 20

QUICK_COUNT = 500


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
    "--small", type=click.IntRange(0), default=COUNT, show_default=True, help="Small files; 0 for none."
)
@click.option("--install/--no-install", default=True, help="Install missing servers for the time of the run.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="On the disk to receive to; by default that of temporary files.",
)
def main(
    quick: bool, only: tuple[str, ...], rounds: int, small: int, install: bool, folder: Path | None
) -> None:
    """Compare receivers of files: processor time for a gigabyte, rate, and many small files."""
    console = Console()
    rounds, size, small = (1, QUICK_SIZE, min(small, QUICK_COUNT)) if quick else (rounds, SIZE, small)
    others = machine.Others(set(machine.cores()))
    with tempfile.TemporaryDirectory(dir=folder, prefix="uploads-") as name:
        if install:
            with console.status("installing missing servers"):
                for fault in provide(Path(name)):
                    console.print(f"not installed: {fault}", markup=False)
        chosen = _chosen(only, console)
        samples = _rounds(chosen, rounds, size, Path(name), console)
        rows = _small(small, Path(name), console)
    print(  # noqa: T201
        f"\n{table(samples)}\n\n{rows}\n\n"
        f"Medians of {rounds} rounds, a file of {size >> 20} MiB, receivers in turn; "
        f"{small:,} files of 4 KiB once, by curl a tenth of them. Receiver and sender on a core each. "
        f"{machine.description()}, {datetime.now():%Y-%m-%d}. "
        f"Others used {others.share():.0%} of the cores meanwhile."
    )
    sys.exit(not all(samples.values()))


def _chosen(only: Sequence[str], console: Console) -> list[Receiver]:
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
    return chosen


def _small(count: int, folder: Path, console: Console) -> str:
    """Measure many small files; return the table."""
    if not count:
        return ""
    try:
        with console.status(f"{count:,} small files"):
            return "\n".join(compare(count, folder, machine.cores()))
    except (MeasureError, OSError, TimeoutExpired) as error:
        console.print(f"not measured: small files: {error}", markup=False)
        return ""


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.uploads")
