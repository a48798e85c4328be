"""Command `python -m benchmarks.crash`, run from the root of the repository."""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
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

PLACE = Path("/dev/shm")  # noqa: S108  # where it is, a synchronization costs nothing
"""Folder for the disks, in memory if there is such a place."""

Results = dict[str, dict[str, list[Outcome]]]


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

    def each_call(self) -> None:
        """Let each call of each upload meet each fault."""
        for series in self._series:
            names = trial.calls(self._lab, series)
            for fault in self._faults:
                if fault.cuts and not (series.cuts and isinstance(self._lab.disk, disk.Ext4)):
                    continue
                with self._console.status(f"{series.name}: {fault.title}"):
                    self.results[series.name][fault.title] = list(self._trials(series, fault, names))

    def _trials(self, series: Series, fault: Fault, names: Sequence[str]) -> Iterator[Outcome]:
        # A daemon that was killed has made fewer calls, so the number beyond the last is a crash at rest.
        last = len(names) + fault.ends
        for target in [*range(1, last, self._step), last]:
            name = names[target - 1] if target <= len(names) else "rest"
            if fault.at and name not in fault.at:
                continue
            meet = trial.crash if fault.ends else trial.fail
            outcome = meet(self._lab, series, fault.deed, target)
            outcome.at = f"call {target} ({outcome.call or 'none'})"
            yield outcome

    def at_random(self, column: str, times: int, flags: int | None, seed: int) -> None:
        """Crash at random moments, while all senders are at work."""
        chance = random.Random(seed)  # noqa: S311  # no secret
        clients = [
            series.client
            for series in self._series
            if not series.interrupted and (series.cuts or flags is None)
        ]
        if not clients:
            return
        row = self.results.setdefault("all at once", {}).setdefault(column, [])
        with self._console.status(f"{column} at random moments"):
            for number in range(times):
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
            if not series.interrupted:
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
@click.option("--quick", is_flag=True, help="Every seventh call and a few random moments.")
@click.option("--without-syncs", is_flag=True, help="Let no synchronization happen; then it has to fail.")
@click.option("--seed", type=int, help="Of the random moments; by default it is another one each time.")
def main(
    only: tuple[str, ...], faults: tuple[str, ...], quick: bool, without_syncs: bool, seed: int | None
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
    try:
        run = _run(chosen, wanted, quick=quick, no_sync=without_syncs, seed=seed, console=console)
    except MeasureError as error:
        raise click.ClickException(str(error)) from None
    print(f"\n{table.markdown(run.results)}\n")  # noqa: T201
    print(  # noqa: T201
        f"{machine.description()}, {datetime.now():%Y-%m-%d}; {time.monotonic() - began:.0f} s, seed {seed}."
    )
    wrong = [*table.broken(run.results), *run.unseen]
    print(*wrong, *(f"not tried: {what}" for what in run.not_tried), sep="\n")  # noqa: T201
    sys.exit(bool(wrong))


def _run(
    chosen: Sequence[Series],
    wanted: Sequence[str],
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
        run = Run(lab, chosen, wanted, 7 if quick else 1, console)
        run.each_call()
        if "random" in wanted:
            run.at_random("kill -9", 5 if quick else MOMENTS, None, seed)
        if reason:
            run.not_tried.append(f"power cuts and full disks: {reason}")
            return run
        if "random-cut" in wanted:
            for title, flags in (("power cut", disk.COLD), ("power cut, journal written", disk.FLUSHED)):
                run.at_random(title, 5 if quick else CUTS, flags, seed)
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
