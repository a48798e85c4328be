"""History of a chat under `kill -9`: each message that was acknowledged is there afterwards, once.

    python -m benchmarks.history_crash [ROUNDS] [--folder FOLDER] [--seed SEED]

In each round a process stores messages of three rooms in groups of all sizes, while it removes old ones and
indexes the others, and tells its parent what is stored. The parent kills it at a random moment. Then every
message that was told has to be there with its text, and the numbers of each room without a gap: those of a
group that was being stored are there whole or not at all. The next round goes on from there.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import click
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.logger import Logger
from zope.interface import implementer

from sockd_plugins.chat.history.erasing import Bounds
from sockd_plugins.chat.history.history import History
from sockd_plugins.chat.hub.events import Said

ROOMS = ("lobby", "garden", "ops")

BOUNDS = Bounds(age=0, room_size=100_000)
"""Bounds that remove messages in each round."""


@implementer(IReactorFromThreads)
class Turns(Clock):
    """Reactor that does nothing but call what threads hand over."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., object], *args: Any, **kw: Any) -> None:  # noqa: N802
        """Take a call from a thread."""
        self._calls.put(lambda: call(*args, **kw))

    def wait_for(self, coroutine: Any, seconds: float = 60.0) -> Any:
        """Return the result of a coroutine."""
        results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        until = time.monotonic() + seconds
        while not results:
            self._calls.get(timeout=max(0.0, until - time.monotonic()))()
        if isinstance(results[0], BaseException) or hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]


def text_of(room: str, number: int) -> str:
    """Return the text of a message, from which each byte can be told."""
    return f"{room} {number} " * (1 + number % 7)


def store(folder: Path, told: int, seed: int) -> None:
    """Store messages until the process is killed, and write to `told` what is stored."""
    turns, chosen = Turns(), random.Random(seed)  # noqa: S311
    history = History(folder, BOUNDS, turns, Logger())
    turns.wait_for(history.open())
    last = {room: turns.wait_for(history.latest(room, 0))[0] for room in ROOMS}
    while True:
        said = []
        for _ in range(chosen.choice((1, 1, 2, 20, 200))):
            room = chosen.choice(ROOMS)
            last[room] += 1
            said.append(Said(room, "ann", text_of(room, last[room]), last[room], time.time()))
        turns.wait_for(history.keep(said))
        os.write(told, "".join(f"{each.room} {each.number}\n" for each in said).encode())
        if chosen.random() < 0.05:
            time.sleep(0.1)  # so that upkeep has a moment


def round_of(folder: Path, chosen: random.Random) -> dict[str, int]:
    """Kill a process that stores messages; return the last number that it has told, of each room."""
    heard, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(heard)
            store(folder, told, chosen.randrange(1 << 30))
        finally:
            os._exit(1)
    os.close(told)
    acknowledged: dict[str, int] = {}
    with os.fdopen(heard, "rb") as lines:
        first = lines.readline()
        time.sleep(chosen.uniform(0.0, 0.3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for line in first.splitlines() + lines.read().splitlines():
            room, number = line.decode().split()
            acknowledged[room] = int(number)
    return acknowledged


def faults(folder: Path, acknowledged: dict[str, int]) -> Sequence[str]:
    """Return what is wrong with the history."""
    found, turns = [], Turns()
    history = History(folder, BOUNDS, turns, Logger())
    for room in ROOMS:
        last, kept = turns.wait_for(history.latest(room, 1_000_000))
        numbers = [said.number for said in kept]
        if last < acknowledged.get(room, 0):
            found.append(f"{room}: told up to {acknowledged[room]}, stored up to {last}")
        if numbers != [*range(last - len(numbers) + 1, last + 1)]:
            found.append(f"{room}: the numbers are not those up to {last} without a gap")
        wrong = [said.number for said in kept if said.text != text_of(room, said.number)]
        found += [f"{room}: {number} has another text" for number in wrong]
    turns.wait_for(history.close())
    return found


@click.command()
@click.argument("rounds", type=click.IntRange(min=1), default=200)
@click.option("--folder", type=click.Path(path_type=Path), help="Folder on the disk that is meant.")
@click.option("--seed", default=1, show_default=True, help="Seed of what is random.")
def main(rounds: int, folder: Path | None, seed: int) -> None:
    """Kill a process that stores messages ROUNDS times; end with 1 if a message is lost."""
    chosen = random.Random(seed)  # noqa: S311
    total, last = 0, dict.fromkeys(ROOMS, 0)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for number in range(1, rounds + 1):
            told = round_of(Path(name), chosen)
            total += sum(until - last[room] for room, until in told.items())
            last |= told
            if found := faults(Path(name), last):
                raise click.ClickException(f"after round {number}: {'; '.join(found)}")
    click.echo(f"{rounds} kills, {total} messages acknowledged, each of them there once")


if __name__ == "__main__":
    main()
