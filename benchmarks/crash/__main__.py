"""Command `python -m benchmarks.crash`, run from the root of the repository."""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path

import click
from rich.console import Console

from benchmarks import machine
from benchmarks.crash import census, disk, moments, table, trial
from benchmarks.crash.board import Board
from benchmarks.crash.daemon import nursery
from benchmarks.crash.faults import FAULTS, Fault
from benchmarks.crash.series import SERIES
from benchmarks.crash.trial import Lab, Outcome, Series
from benchmarks.processes import MeasureError

MOMENTS = 300
"""Random moments of kill -9."""

CUTS = 100
"""Random moments of a power cut, of each kind."""

SMALL = 7 << 20
"""Bytes of the disk that is too small for a file."""

FILES = 40
"""Files of a disk that gets full of them."""

QUICK = 13
"""Every how many calls a fault comes in a quick run."""

_ENDS = 1 << 16
"""Spread of the first and of the last call: more than there are calls."""

PLACE = Path("/dev/shm")  # noqa: S108  # where it is, a synchronization costs nothing
"""Folder for the disks, in memory if there is such a place."""

Results = dict[str, dict[str, list[Outcome]]]


@dataclass(frozen=True, slots=True)
class _Trial:
    """Fault at a call of an upload.

    Attributes:
        series: the upload.
        fault: the fault.
        target: number of the call, from 1.
        rank: place in the order of the trials: the first and the last call, then ever closer ones.
    """

    series: Series
    fault: Fault
    target: int
    rank: int

    def make(self, lab: Lab) -> Outcome:
        """Try it."""
        meet = trial.crash if self.fault.ends else trial.fail
        outcome = meet(lab, self.series, self.fault.deed, self.target)
        outcome.at = f"call {self.target} ({outcome.call or 'none'})"
        return outcome


class Run:
    """Run of all chosen trials.

    Args:
        lab: the place.
        series: the uploads.
        faults: the names of the faults.
        step: every how many calls a fault comes.
        console: for progress.

    Attributes:
        results: what was found.
        not_tried: reasons.
        unseen: calls that were not counted, so that no fault came there.
    """

    def __init__(
        self, lab: Lab, series: Sequence[Series], faults: Sequence[str], step: int, console: Console
    ) -> None:
        self.results: Results = {each.name: {} for each in series}
        self.not_tried: list[str] = []
        self.unseen: list[str] = []
        self._lab = lab
        self._series = series
        self._faults = [FAULTS[name] for name in faults if name in FAULTS]
        self._step = step
        self._console = console

    def each_call(self, until: float) -> None:
        """Let each call of each upload meet each fault, until a time; a few of every upload come first."""
        trials = [trial for series in self._series for trial in self._planned(series)]
        trials.sort(key=lambda one: (one.rank, self._faults.index(one.fault)))
        for number, one in enumerate(trials):
            if time.monotonic() > until:
                self.not_tried.append(f"{len(trials) - number} of {len(trials)} calls: the time was up")
                return
            with self._console.status(f"{number} of {len(trials)}: {one.series.name}, {one.fault.title}"):
                row = self.results[one.series.name].setdefault(one.fault.title, [])
                row.append(one.make(self._lab))

    def _planned(self, series: Series) -> Iterator[_Trial]:
        faults = [fault for fault in self._faults if not fault.cuts or isinstance(self._lab.disk, disk.Ext4)]
        names = trial.calls(self._lab, series) if faults else ()
        for fault in faults:
            # A daemon that was killed has made fewer calls, so the number beyond the last is a crash at rest.
            last = len(names) + fault.ends
            for place, target in enumerate([*range(1, last, self._step), last]):
                name = names[target - 1] if target <= len(names) else "rest"
                if not fault.at or name in fault.at:
                    # Every 32nd call comes before every 16th, and so on.
                    yield _Trial(
                        series, fault, target, -(1 << 16) if target == last else -(place & -place or 1 << 16)
                    )

    def at_random(self, column: str, times: int, flags: int | None, seed: int, until: float) -> None:
        """Crash at random moments, while all senders are at work, until a time."""
        chance = random.Random(seed)  # noqa: S311  # no secret
        clients = [series.client for series in self._series if not series.interrupted]
        if not clients:
            return
        row = self.results.setdefault("all at once", {}).setdefault(column, [])
        for number in range(times):
            if time.monotonic() > until:
                self.not_tried.append(f"{times - number} of {times} moments, {column}: the time was up")
                return
            with self._console.status(f"{column}: moment {number} of {times}"):
                outcome = moments.at_random(self._lab, clients, chance, flags)
                outcome.at = f"moment {number}"
                row.append(outcome)

    def compare(self) -> Iterator[str]:
        """Compare the calls that were counted with those that strace sees; describe differences."""
        for series in self._series:
            if not series.interrupted:
                for name, more in census.missing(self._lab, series.client).items():
                    yield f"{series.name}: strace sees {more} calls of {name} that were not counted"

    def full(self, lab: Lab, column: str, *, inodes: bool) -> None:
        """Send each upload to a disk that is full."""
        for series in self._series:
            if not series.interrupted and (inodes or series.client.size > SMALL):
                self.results[series.name][column] = [moments.full(lab, series.client, inodes=inodes)]


@click.command()
@click.option("--only", multiple=True, metavar="UPLOAD", help="Such as keep or 'r*'; may be repeated.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice([*FAULTS, "random", "random-cut", "full"]),
    help="Only this one; all unless it is quick.",
)
@click.option("--quick", is_flag=True, help="Every thirteenth call and a few random moments.")
@click.option("--without-syncs", is_flag=True, help="Let no synchronization happen; then it has to fail.")
@click.option("--minutes", type=float, default=0.0, help="Time for all; by default as long as it takes.")
@click.option(
    "--write",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Page whose section 'Results' gets the table.",
)
@click.option("--seed", type=int, help="Of the random moments; by default it is another one each time.")
def main(
    only: tuple[str, ...],
    faults: tuple[str, ...],
    quick: bool,
    without_syncs: bool,
    minutes: float,
    write: Path | None,
    seed: int | None,
) -> None:
    """Crash the receiver of files at each call of an upload; fails if a sender was told what is not true."""
    console = Console()
    chosen = [each for each in SERIES if not only or any(fnmatch(each.name, one) for one in only)]
    if not chosen:
        known = ", ".join(each.name for each in SERIES)
        raise click.BadParameter(f"expected one of {known}", param_hint="--only")
    wanted = faults or (*FAULTS, "random", "random-cut", "full")
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no daemon outlives the run
    times = Times(began, minutes * 60 if minutes else math.inf)
    try:
        run = _run(chosen, wanted, times, quick=quick, no_sync=without_syncs, seed=seed, console=console)
    except MeasureError as error:
        raise click.ClickException(str(error)) from None
    wrong = [*table.broken(run.results), *run.unseen]
    told = [
        table.markdown(run.results),
        f"`python -m benchmarks.crash {' '.join(sys.argv[1:])}`, {datetime.now():%Y-%m-%d}, seed {seed},"
        f" {(time.monotonic() - began) / 60:.0f} minutes, load {os.getloadavg()[0]:.1f}."
        f" {machine.description()}.",
        *wrong,
        *(f"Not tried: {what}." for what in run.not_tried),
    ]
    print("", *told, sep="\n\n")  # noqa: T201
    if write is not None:
        write.write_text(table.with_results(write.read_text(), "\n\n".join(told)))
    sys.exit(bool(wrong))


@dataclass(frozen=True, slots=True)
class Times:
    """Times at which the parts of a run end.

    Attributes:
        began: of the run.
        length: of the run, in seconds.
    """

    began: float
    length: float

    def end(self, share: float) -> float:
        """Return the time at which a share of the run is over."""
        return self.began + share * self.length


def _run(
    chosen: Sequence[Series],
    wanted: Sequence[str],
    times: Times,
    *,
    quick: bool,
    no_sync: bool,
    seed: int,
    console: Console,
) -> Run:
    """Make all trials on disks of their own."""
    reason = disk.own_mounts()
    protocols = tuple(dict.fromkeys(series.client.protocol for series in chosen))
    with ExitStack() as ends:
        place = PLACE if PLACE.is_dir() else None
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(dir=place, prefix="crash-")))
        board = Board(folder, no_sync=no_sync)
        (folder / "daemon").mkdir()
        own = disk.Disk(folder / "disk") if reason else disk.Ext4(folder / "disk", folder / "image")
        ends.enter_context(closing(own))
        forks = ends.enter_context(nursery(board, folder / "daemon", protocols))
        lab = Lab(board, own, forks, seed)
        run = Run(lab, chosen, wanted, QUICK if quick else 1, console)
        if "random" in wanted:
            run.at_random("kill -9", 5 if quick else MOMENTS, None, seed, times.end(0.5))
        if "random-cut" in wanted and not reason:
            for title, flags, share in (
                ("power cut", disk.COLD, 0.6),
                ("power cut, journal written", disk.FLUSHED, 0.7),
            ):
                run.at_random(title, 5 if quick else CUTS, flags, seed, times.end(share))
        run.each_call(times.end(0.95))
        if reason:
            run.not_tried.append(f"power cuts and full disks: {reason}")
            return run
        if "full" in wanted:
            for title, size, inodes in (("disk full", SMALL, False), ("no inodes", 8 * SMALL, True)):
                forks.kill()
                small = disk.Small(folder / title.replace(" ", "-"), size, FILES)
                with closing(small):
                    run.full(Lab(board, small, forks, seed), title, inodes=inodes)
                    forks.kill()
        if no_sync:
            return run
        try:
            run.unseen += run.compare()
        except MeasureError as error:
            run.not_tried.append(f"comparison with strace: {error}")
        return run


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.crash")
