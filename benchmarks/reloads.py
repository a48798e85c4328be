"""Whether reloads and upgrades lose anything: `python -m benchmarks.reloads [COUNT]`.

So many changes under load, some of them upgrades, every other one deliberately broken, while clients come
with a connection for each request and long connections count. Fails if a request is not answered, or a long
connection is cut.
"""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path

import click

from benchmarks.machine import description
from benchmarks.workers import Crew, Streams, Visitors, crew

WORKERS = 2
LONG = 100
"""Long connections."""

CONFIG = f"""
[daemon]
workers = {WORKERS}
drain_timeout = "1h"
[service.echo]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
limits.max_connections = {{most}}
[service.other]
plugin = "banner"
listen = ["unix:{{name}}.sock"]
options.text = "{{name}}"
"""

BROKEN = (
    "[service",
    "[service.x]\nplugin = 'ehco'\nlisten = ['unix:x.sock']\n",
    "[service.x]\nplugin = 'echo'\nlisten = ['unix:/proc/x.sock', 'unix:x.sock']\n",
    "[service.x]\nplugin = 'echo'\nlisten = ['unix:x.sock']\noptions.colour = 1\n",
)


@click.command()
@click.argument("count", type=int, default=1000)
@click.option("--upgrades", type=int, default=20, help="How many of them are upgrades, at most.")
def main(count: int, upgrades: int) -> None:
    """Change so often."""
    click.echo(description())
    with tempfile.TemporaryDirectory() as folder, crew(Path(folder), text(0)) as daemon:
        before = daemon.descriptors()
        streams, visitors = Streams(daemon.address, LONG), Visitors(daemon.address, 2)
        began = time.monotonic()
        for number in range(count):
            change(daemon, number, upgrades=min(upgrades, count // 4), count=count)
        seconds = time.monotonic() - began
        time.sleep(0.5)
        visitors.end()
        generations = daemon.events["upgraded"]
        streams.end()
        daemon.settled(WORKERS)
        after = daemon.descriptors()
    told = daemon.events
    click.echo(
        f"{told['reloaded']} reloads, {told['not reloaded']} broken ones, {generations} upgrades"
        f" in {seconds:.0f} s;"
        f" {visitors.served} requests, {sum(visitors.faults.values())} failed {dict(visitors.faults)};"
        f" {LONG} long connections, {streams.faults} cut, {streams.rounds} rounds;"
        f" descriptors {before} before, {after} after"
    )
    if visitors.faults or streams.faults or after > before:
        raise SystemExit(1)


def text(number: int) -> str:
    """A configuration that is other than that of the number before."""
    return CONFIG.format(most=5000 + number % 7, name=f"n{number % 2}")


def change(daemon: Crew, number: int, *, upgrades: int, count: int) -> None:
    """Do one thing, and wait until it is done."""
    told = daemon.events
    if number % 2:
        broken = BROKEN[number // 2 % len(BROKEN)]
        daemon.file.write_text(text(number) + broken)
        awaited, done = signal.SIGHUP, "not reloaded"
    elif upgrades and number % max(2, count // upgrades // 2 * 2) == 0:
        awaited, done = signal.SIGUSR2, "upgraded"
    else:
        daemon.file.write_text(text(number // 2))
        awaited, done = signal.SIGHUP, "reloaded"
    wanted = told[done] + 1
    daemon.process.send_signal(awaited)
    daemon.wait_for(done, wanted)


if __name__ == "__main__":
    main()
