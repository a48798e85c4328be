"""Gain by more workers: `python -m benchmarks.scaling`. Echo with 0, 1 and 2 workers, in turn.

The load shares the cores with the servers. If it needs as much of them as the servers, more workers cannot
double the rate. So the processor time of a message is reported beside the messages per second.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.machine import description
from benchmarks.peers import HERE
from benchmarks.workers import HOST, Crew, crew

WORKERS = (0, 1, 2)
SIZE, CONNECTIONS = 100, 100
"""Bytes of a message, and connections, each of which has one message in flight."""

CONFIG = """
[daemon]
workers = {workers}
[service.echo]
plugin = "echo"
listen = ["tcp:0:interface={host}"]
"""


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=4, show_default=True)
def main(rounds: int, seconds: int) -> None:
    """Measure the rates, and print them."""
    click.echo(description())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load = folder / "load"
        subprocess.run(["gcc", "-O2", "-o", load, HERE / "load.c"], check=True)  # noqa: S603, S607
        daemons = {}
        for workers in WORKERS:
            (folder / f"{workers}").mkdir()
            text = CONFIG.format(workers=workers, host=HOST)
            daemons[workers] = stack.enter_context(crew(folder / f"{workers}", text))
        rates: dict[int, list[tuple[float, float, float]]] = {workers: [] for workers in WORKERS}
        for _ in range(rounds):
            for workers, daemon in daemons.items():
                rates[workers].append(_measured(load, daemon, seconds))
    for workers, measured in rates.items():
        rate, servers, client = (statistics.median(column) for column in zip(*measured, strict=True))
        click.echo(
            f"{workers} workers: {rate / 1000:6.1f} thousand messages a second;"
            f" {servers * 1e6:.2f} µs of the servers and {client * 1e6:.2f} µs of the load for each"
        )


def _measured(load: Path, daemon: Crew, seconds: int) -> tuple[float, float, float]:
    """Return the messages per second, and the processor time for each, of the servers and of the load."""
    pids = [daemon.process.pid, *daemon.workers()]
    before = sum(map(_cpu, pids))
    words = ["echo", "tcp", daemon.address[1], daemon.process.pid, SIZE, CONNECTIONS, seconds]
    done = subprocess.run([load, *map(str, words)], capture_output=True, check=True)  # noqa: S603
    servers = sum(map(_cpu, pids)) - before
    sample = json.loads(done.stdout)
    count = sample["count"]
    # Messages of the warm-up are not counted, but have cost the servers time.
    share = sample["seconds"] / (sample["seconds"] + WARM_UP)
    return count / sample["seconds"], servers * share / count, sample["load_cpu"] / count


WARM_UP = 0.2
"""Seconds of the warm-up, as in `load.c`."""


def _cpu(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
