"""Daemon under a mixed load for half an hour: `python -m benchmarks.soak [--minutes 30] [--workers 2]`.

A real daemon serves every built-in service over TCP, UDP, UNIX sockets, TLS and behind a proxy, with limits.
Three processes of clients use it correctly and incorrectly, at a moderate pace, and check every answer.
Meanwhile it is reloaded, and gets new certificates, a new log, and new workers, if it has any. Its resources
are sampled every few seconds. Then the load ends, and everything must be as before. The command fails if
anything is not.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.machine import ROOT, Others, cores, description
from benchmarks.processes import MeasureError
from benchmarks.soak.configuration import Places
from benchmarks.soak.daemon import Daemon, Held, serving
from benchmarks.soak.disturbing import Disturbances
from benchmarks.soak.load import Load, loading
from benchmarks.soak.plot import svg
from benchmarks.soak.verdict import End, Look, at_one_age, faults, slope

KINDS = ("talking", "meeting", "harming")
"""Modules with clients; each is a process."""

TICK = 0.25
"""Seconds between two checks for due work."""

CALM = 60.0
"""Seconds until all connections are closed and no timer waits for them: `idle_timeout` twice, on a busy
machine."""


@dataclass(frozen=True, slots=True)
class Soak:
    """Results of a soak.

    Attributes:
        looks: samples of the daemon.
        end: its resources and errors at the end.
        done: how often each kind of visit and of disturbance happened.
        counts: the daemon's own counters: service, event, reason, number.
    """

    looks: list[Look]
    end: End
    done: dict[str, int]
    counts: list[tuple[str, str, str, int]]


def soak(seconds: float, between: float, show: Callable[[Look], None], workers: int = 0) -> Soak:
    """Run one soak.

    Args:
        seconds: duration of the load.
        workers: processes that serve; 0 for a single process.
        between: seconds between two samples.
        show: called with each sample.

    Raises:
        MeasureError: the daemon does not start.
    """
    with tempfile.TemporaryDirectory() as name:
        places = Places.prepare(Path(name), workers)
        with serving(places) as daemon:
            daemon.say()
            before = daemon.settled()
            with loading(places, KINDS) as load:
                disturbances = Disturbances(daemon, load.upgrade, seconds)
                looks = _watch(daemon, load, disturbances, seconds, between, show)
                load.end()
            disturbances.attempt(disturbances.back_to_first_version)
            status = _calm(daemon, before)
            after = Held.told(status)
            exit_code = daemon.stop()
        left = sorted(path.name for path in (places.folder / "received").rglob("*") if path.is_file())
        errors = load.errors + disturbances.errors + daemon.log.faults
        errors += [f"expected no file to be left, found {left}"] if left else []
        end = End(before, after, _open(status), exit_code, errors)
        return Soak(looks, end, dict(load.visits + disturbances.done), _counts(status))


def _watch(
    daemon: Daemon,
    load: Load,
    disturbances: Disturbances,
    seconds: float,
    between: float,
    show: Callable[[Look], None],
) -> list[Look]:
    looks: list[Look] = []
    began = time.monotonic()

    def look() -> None:
        looks.append(_look(daemon, load, len(disturbances.errors), time.monotonic() - began))
        show(looks[-1])

    due = 0.0
    while (passed := time.monotonic() - began) < seconds:
        disturbances.go_on()
        if passed >= due:
            due = passed + between
            daemon.log.read()
            load.listen()
            disturbances.attempt(look)  # before the pages, because reading the worst delay resets it
            disturbances.attempt(daemon.check_pages)
        time.sleep(TICK)
    return looks


def _look(daemon: Daemon, load: Load, disturbed: int, seconds: float) -> Look:
    status, processes = daemon.status(), daemon.processes()
    held = Held.told(status)
    sizes = [process.memory() for process in processes]
    return Look(
        seconds=round(seconds, 2),
        generation=status.get("generation", 1),
        private=sum(private for private, _ in sizes),
        first=sizes[0][0],
        resident=sum(resident for _, resident in sizes),
        descriptors=held.descriptors,
        timers=held.timers,
        threads=sum(process.threads() for process in processes),
        connections=_open(status),
        delay=round(status.get("reactor_delay") or 0.0, 6),
        daemon_cpu=round(sum(process.cpu() for process in processes), 2),
        client_cpu=round(load.cpu, 2),
        visits=load.visits.total(),
        errors=load.failed + disturbed,
    )


def _calm(daemon: Daemon, before: Held) -> dict[str, Any]:
    """Wait until all connections are closed; return what the daemon holds then."""
    until = time.monotonic() + CALM
    while True:
        status = daemon.status()
        if (not _open(status) and Held.told(status) == before) or time.monotonic() > until:
            return status
        time.sleep(TICK)


def _open(status: dict[str, Any]) -> int:
    return sum(service["connections"] for service in status["services"])


def _counts(status: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    return [
        (service["name"], event, reason, number)
        for service in status["services"]
        for event, reason, number in service["counts"]
    ]


def _write(found: Soak, folder: Path, workers: int) -> None:
    folder.mkdir(parents=True)
    with (folder / "rows.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, [field.name for field in fields(Look)], lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(look) for look in found.looks)
    with (folder / "counts.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("service", "event", "reason", "count"), *found.counts]
        )
    who = f"A daemon with {workers} workers" if workers else "One daemon"
    (folder / "soak.svg").write_text(svg(found.looks, f"{who}, every service, a mixed load"))


def _line(look: Look) -> str:
    return (
        f"{look.seconds:>7.0f} s {look.private / 1000:>7.2f} MB {look.descriptors:>4} descriptors "
        f"{look.timers:>3} timers {look.connections:>4} connections {look.delay * 1000:>6.1f} ms "
        f"{look.visits:>7,} visits {look.errors:>3} errors"
    )


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.2), default=30.0, show_default=True)
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--seconds-between-looks", type=click.FloatRange(min=0.5), default=5.0, show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "results")
def main(minutes: float, workers: int, seconds_between_looks: float, results: Path) -> None:
    """Check that a daemon's resources and answers stay right under a mixed load."""
    others = Others(set(cores()))
    try:
        found = soak(minutes * 60, seconds_between_looks, lambda look: click.echo(_line(look)), workers)
    except MeasureError as error:
        raise click.ClickException(str(error)) from None
    _write(found, results / f"{datetime.now(UTC):%Y-%m-%d_%H%M%S}-soak-{workers}", workers)
    last = found.looks[-1]
    for name, number in sorted(found.done.items()):
        click.echo(f"{number:>8,} {name}")
    grown = slope(at_one_age(found.looks)), slope(found.looks, lambda look: look.first)
    click.echo(
        f"{grown[0]:+.1f} KB a minute over the second half, {grown[1]:+.1f} of the first process alone"
    )
    click.echo(f"at the start {found.end.before}, at the end {found.end.after}")
    click.echo(
        f"processor: daemon {last.daemon_cpu / last.seconds:.1%} and load "
        f"{last.client_cpu / last.seconds:.1%} of a core, others {others.share():.0%} of all"
    )
    click.echo(description())
    if wrong := faults(found.looks, found.end):
        raise click.ClickException("\n".join(wrong))
    click.echo("nothing is left behind, and no client has seen an error")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.soak")
