"""Trial of one bad peer at one service: its effect on a good peer, and what it leaves behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import MeasureError, on_core
from benchmarks.zoo import plain
from benchmarks.zoo.attack import BEASTS, HARMLESS
from benchmarks.zoo.client import HEAD_START, Felt
from benchmarks.zoo.servers import CLOSE, IDLE, Name, left_open, running
from benchmarks.zoo.size import Size, Worst, size
from benchmarks.zoo.target import ECHOING, LINE, Kind, Target

ROOT = Path(__file__).parents[2]

SETTLE = IDLE + CLOSE + 3
"""Seconds after the last packet of a bad peer until every place has to be free again."""

REFILLED = 60
"""Connections from one bad address that must be accepted afterwards; `max_per_source` is a little more."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Result of a trial.

    Attributes:
        beast: the bad peer.
        kind: the service that it attacked.
        server: of that service.
        calm: experience of the good peer beside an equal load of harmless peers.
        attacked: its experience during the attack.
        before: the server's size before.
        worst: its largest size.
        after: its size when all peers had gone.
        refilled: connections from a bad address that were accepted afterwards, all at once.
        left_open: connections that the server itself counted at its end; None if it does not report them.
    """

    beast: str
    kind: Kind
    server: Name
    calm: Felt
    attacked: Felt
    before: Size
    worst: Size
    after: Size
    refilled: int
    left_open: int | None


def absent(beast: str, kind: Kind, server: Name) -> str:
    """Say why there is no such trial; empty if there is one."""
    if server == "twisted" and kind not in plain.SERVED:
        return f"plain Twisted has no {kind}"
    reason: Callable[[], str] = getattr(BEASTS[beast], "absent", lambda: "")
    return reason()


def attempt(beast: str, kind: Kind, server: Name, seconds: float, cores: tuple[int, int]) -> Trial:
    """Make the trial, on a server of its own.

    Raises:
        MeasureError: the server or the good peer did not start.
    """
    server_core, load_core = cores
    with tempfile.TemporaryDirectory() as name, on_core(load_core):
        folder = Path(name)
        with running(server, folder, server_core) as zoo:
            target = zoo.target(kind)
            good = zoo.target(kind if kind in ECHOING else "echo")
            fresh = size(zoo.pid)
            calm = _felt(good, HARMLESS, good, max(seconds / 2, 0.5))
            before = _settled(zoo.pid, fresh.descriptors)
            if few := getattr(BEASTS[beast], "few", 0):
                resource.prlimit(zoo.pid, resource.RLIMIT_NOFILE, (few, few))
            with Worst(zoo.pid) as worst:
                attacked = _felt(good, beast, target, seconds)
            refilled = _refilled(good)
            after = _settled(zoo.pid, before.descriptors)
        return Trial(
            beast, kind, server, calm, attacked, before, worst.most, after, refilled,
            left_open(folder / "log") if server == "sockd" else None,
        )  # fmt: skip


def _felt(good: Target, beast: str, target: Target, seconds: float) -> Felt:
    """Measure the good peer during an attack."""
    client = _python("client", good.kind, good.port, seconds, stdout=subprocess.PIPE)
    time.sleep(HEAD_START)  # less than the client's start takes, so that the bad peer begins in time
    attack = _python("attack", beast, target.kind, target.port, seconds + HEAD_START)
    try:
        said, _ = client.communicate()
        if client.returncode:
            raise MeasureError(f"the good peer ended with {client.returncode}")
        return Felt(**json.loads(said))
    finally:
        os.killpg(attack.pid, signal.SIGKILL)
        attack.wait()


def _python(module: str, *words: object, stdout: int | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"benchmarks.zoo.{module}", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=stdout, start_new_session=True)  # noqa: S603  # our own


def _settled(pid: int, descriptors: int) -> Size:
    """Return the server's size once it has no more descriptors than before, or after a time."""
    end = time.monotonic() + SETTLE
    while (now := size(pid)).descriptors > descriptors and time.monotonic() < end:
        time.sleep(0.05)
    return now


def _refilled(target: Target) -> int:
    """Return how many connections from one bad address are accepted and answered at once after the attack."""
    time.sleep(1)  # the rate of one source has a second
    answered = 0
    with ExitStack() as peers:
        for _ in range(REFILLED):
            with suppress(OSError):
                peer = peers.enter_context(target.enter(0))
                peer.sendall(LINE)
                answered += bool(peer.recv(1))
    return answered
