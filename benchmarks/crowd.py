"""Delay of a crowded room by those who do not read: `python -m benchmarks.crowd`.

A thousand people are in one room, and one after the other says a text; the time is that of each delivery. In
every second run some of them have stopped reading. The test fails if those raise the p99 of the others to
more than `MOST_SLOWER` times its value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from benchmarks import machine
from benchmarks.measure import Bench
from benchmarks.peers import PEERS, Peer
from benchmarks.processes import MeasureError
from benchmarks.scenarios import Sample

MOST_SLOWER = 1.5
"""Factor by which people who do not read may raise the p99 of the others."""

TEXT = 400
"""Bytes of a text, the longest one by default, so that as much as is kept for anyone waits soon."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one kind."""

    samples: Sequence[Sample]

    def row(self, title: str) -> str:
        """Return the medians as a line of a table."""
        p50, p99, grown = (median(getattr(s, key) for s in self.samples) for key in ("p50", "p99", "grown"))
        cpu = median(s.server_cpu / s.count for s in self.samples)
        return f"{title:<12} {p50 * 1e3:9.2f} {p99 * 1e3:9.2f} {cpu * 1e6:12.2f} {grown / 1e6:9.1f}"

    @property
    def p99(self) -> float:
        """Median of the p99 of the runs, in seconds."""
        return median(sample.p99 for sample in self.samples)


@click.command()
@click.option("--server", "key", default="sockd", show_default=True, help="Server, as in make bench.")
@click.option("--people", type=click.IntRange(10, 5000), default=1000, show_default=True)
@click.option("--stopped", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 45), default=10.0, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True)
def main(key: str, people: int, stopped: int, seconds: float, rounds: int) -> None:
    """Measure a room in which some have stopped reading, and one in which none have, in turns."""
    peer = next((peer for peer in PEERS if peer.key == key and "chat" in peer.protocols), None)
    if peer is None or stopped > people - 2:
        raise click.UsageError("expected a server that is a chat, and people who read")
    machine.descriptors()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(*machine.cores(), Path(folder))
        if reason := bench.prepare(peer):
            raise click.ClickException(reason)
        found: dict[int, list[Sample]] = {0: [], stopped: []}
        try:
            for _ in range(rounds):
                for number, samples in found.items():
                    samples.append(_measure(bench, peer, people, number, seconds))
        except MeasureError as error:
            raise click.ClickException(str(error)) from None
    reading, stalled = Runs(found[0]), Runs(found[stopped])
    click.echo(f"{people} people, {peer.title}; medians of {rounds}; {machine.description()}")
    click.echo(f"{'stopped':<12} {'p50 ms':>9} {'p99 ms':>9} {'µs/delivery':>12} {'grown MB':>9}")
    click.echo(reading.row("none"))
    click.echo(stalled.row(str(stopped)))
    ratio = stalled.p99 / reading.p99
    click.echo(f"p99 with {stopped} stopped: {ratio:.2f} x")
    if ratio > MOST_SLOWER:
        raise SystemExit(1)


def _measure(bench: Bench, peer: Peer, people: int, stopped: int, seconds: float) -> Sample:
    with bench.serve(peer, "chat") as server:
        return bench.load(server, peer.wire, ("crowd", TEXT, people, stopped, seconds))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.crowd")
