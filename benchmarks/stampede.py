"""Test that workers may die at any time: `python -m benchmarks.stampede [SECONDS]`.

A worker chosen by chance is killed every 100 ms, while clients open a connection for each request. The test
fails if a worker outlives the daemon, if the supervisor keeps descriptors, or if no client is served soon
after.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import click

from benchmarks.machine import description
from benchmarks.workers import Visitors, crew

WORKERS = 3
BACK_WITHIN = 1.0
"""Seconds until a client is served again."""

CONFIG = f"""
[daemon]
workers = {WORKERS}
drain_timeout = "1s"
[service.echo]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
"""


@click.command()
@click.argument("seconds", type=float, default=60.0)
@click.option("--every", type=float, default=0.1, help="Seconds between two kills.")
def main(seconds: float, every: float) -> None:
    """Kill workers for SECONDS."""
    click.echo(description())
    with tempfile.TemporaryDirectory() as folder, crew(Path(folder), CONFIG) as daemon:
        before, killed = daemon.descriptors(), set[int]()
        visitors = Visitors(daemon.address, 4)
        until, kills = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            if alive := daemon.workers():
                victim = random.choice(alive)  # noqa: S311  # not for a secret
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.add(victim)
                    kills += 1
            time.sleep(every)
        gap, served = visitors.gap(), visitors.served
        last = time.monotonic()
        while visitors.served == served and time.monotonic() < last + 30:
            time.sleep(0.005)
        back = time.monotonic() - last
        visitors.end()
        daemon.wait_for("worker started", 1)
        time.sleep(5)
        after = daemon.descriptors()
        pids = killed | set(daemon.workers())
    orphans = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    click.echo(
        f"{kills} kills in {seconds:g} s; {served} requests served meanwhile,"
        f" {sum(visitors.faults.values())} cut;"
        f" longest time without an answer {gap:.2f} s; served again {back:.2f} s after the last kill;"
        f" descriptors {before} before, {after} after; orphans {len(orphans)}"
    )
    if orphans or after > before or back > BACK_WITHIN:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
