"""Test of people who come and go: `python -m benchmarks.returning [SECONDS]`.

Two hundred people with every kind of client are in one room, say numbered texts, lose their connections by
chance, come back and ask for what they have missed. The daemon may be killed meanwhile, too. The test fails
if anybody misses an acknowledged message, gets one under two numbers, or in another order than others.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random

import click

from benchmarks.machine import description, descriptors
from benchmarks.peers import BIN
from benchmarks.processes import end, free_ports
from benchmarks.returning import datagrams, irc, lines, web
from benchmarks.returning.person import Person
from benchmarks.returning.record import Record
from benchmarks.returning.verdict import faults
from benchmarks.returning.wire import Cut, Open

SHARES: Mapping[str, float] = {"line": 0.3, "unix": 0.1, "udp": 0.2, "irc": 0.25, "web": 0.15}
"""Shares of the clients."""

START_TIMEOUT = 20.0

CONFIG = """
[daemon]
state_dir = "state"
[service.chat]
plugin = "chat"
listen = [
  "tcp:{line}:interface=127.0.0.1",
  "unix:chat.sock",
  "udp:{udp}:interface=127.0.0.1",
  {{ endpoint = "tcp:{irc}:interface=127.0.0.1", protocol = "irc" }},
  {{ endpoint = "tcp:{web}:interface=127.0.0.1", protocol = "web" }},
]
[service.chat.limits]
max_per_source = 10_000
[service.chat.options]
rate = 1000
burst = 1000
"""


class Daemon:
    """sockd with a chat, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        kinds = ("line", "udp", "irc", "web")
        found = free_ports("tcp", "udp", "tcp", "tcp")
        self.ports = dict(zip(kinds, found, strict=True))
        (folder / "sockd.toml").write_text(CONFIG.format(**self.ports))
        self._log = (folder / "log").open("w")
        self._process = self._start()

    def openings(self) -> dict[str, Open]:
        """Return how each kind of client connects."""
        return {
            "line": lines.opening(port=self.ports["line"]),
            "unix": lines.opening(path=str(self._folder / "chat.sock")),
            "udp": datagrams.opening(self.ports["udp"]),
            "irc": irc.opening(self.ports["irc"]),
            "web": web.opening(self.ports["web"]),
        }

    def kill(self) -> None:
        """Kill it, and start it again."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = self._start()

    def end(self) -> None:
        """End it in order."""
        end(self._process)
        self._log.close()

    def _start(self) -> subprocess.Popen[bytes]:
        words = [str(BIN / "twistd"), "--nodaemon", "--pidfile=", "sockd", "-c", "sockd.toml"]
        return subprocess.Popen(  # noqa: S603  # our own
            words, cwd=self._folder, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )


async def read_all(enter: Open) -> Record:
    """Return what the room keeps, as a newcomer reads it."""
    record = Record("reader")
    until = time.monotonic() + START_TIMEOUT
    while time.monotonic() < until:
        try:
            wire = await enter("reader", record.take, record.cut)
        except Cut:
            await asyncio.sleep(0.05)
            continue
        last = await wire.mark()
        record.come_in(0)
        while (reached := record.reached or 0) < last:
            await wire.since(reached)
            if record.reached == reached:
                break
        wire.cut(gently=True)
        return record
    raise click.ClickException("the daemon does not serve; its log is in the folder")


async def run(daemon: Daemon, number: int, seconds: float, kill_every: float, random: Random) -> list[str]:
    """Let people live for some seconds; return the faults, and print what happened."""
    openings = daemon.openings()
    await read_all(openings["line"])  # waits for the daemon
    kinds = [kind for kind, share in SHARES.items() for _ in range(round(number * share))]
    people = [
        Person(f"p{at}", kind, openings[kind], Random(random.random()))  # noqa: S311  # for no secret
        for at, kind in enumerate(kinds)
    ]
    over = asyncio.Event()
    lives = asyncio.gather(*(person.live(over) for person in people))
    began, kills = time.monotonic(), 0
    while (left := began + seconds - time.monotonic()) > 0:
        await asyncio.sleep(min(left, kill_every or left))
        if kill_every and time.monotonic() < began + seconds - 1:
            await asyncio.to_thread(daemon.kill)
            kills += 1
    over.set()
    await lives
    await asyncio.gather(*(person.read_on(over) for person in people))
    kept = (await read_all(openings["line"])).got
    said = sum(person.record.said for person in people)
    acknowledged = sum(len(person.record.own) for person in people)
    deliveries = sum(len(person.record.got) for person in people)
    visits: Counter[str] = Counter()
    for person in people:
        visits[person.kind] += person.visits
    shown = ", ".join(f"{kind} {count}" for kind, count in visits.items())
    click.echo(
        f"{len(people)} people, {seconds:g} s, {kills} kills; visits: {shown};"
        f" {said} said, {acknowledged} acknowledged, {len(kept)} kept, {deliveries} delivered"
    )
    return faults(kept, people)


@click.command()
@click.argument("seconds", type=float, default=60.0)
@click.option("--people", type=click.IntRange(5, 1000), default=200, show_default=True)
@click.option("--kill-every", type=float, default=0.0, help="Seconds between two kill -9 of the daemon.")
@click.option("--seed", type=int, default=None, help="Of the moods; by default by chance.")
def main(seconds: float, people: int, kill_every: float, seed: int | None) -> None:
    """Let people come and go for SECONDS."""
    descriptors()
    seed = Random().randrange(10**6) if seed is None else seed  # noqa: S311  # for no secret
    click.echo(f"{description()}; --seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder))
        try:
            random = Random(seed)  # noqa: S311  # for no secret
            found = asyncio.run(run(daemon, people, seconds, kill_every, random))
        finally:
            daemon.end()
            if log := [
                line for line in (Path(folder) / "log").read_text().splitlines() if "critical" in line
            ]:
                click.echo(f"critical in the log: {log[0][:300]}")
    for fault in found[:20]:
        click.echo(fault)
    click.echo(f"{len(found)} faults")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.returning")
