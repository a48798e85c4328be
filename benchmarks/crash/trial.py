"""Trial of one upload with one fault: what the sender was told against what is there afterwards."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar

from benchmarks.crash import verdict
from benchmarks.crash.board import NOTHING, Action, Board, Deed
from benchmarks.crash.daemon import Nursery
from benchmarks.crash.disk import COLD, Disk, Ext4
from benchmarks.crash.sending import Client, Sending
from benchmarks.processes import MeasureError

SETTLE = 10.0
"""Seconds for a daemon to end a conversation, or itself, after the last byte."""

EXPIRED = 3 * 86400.0
"""Seconds by which files of unfinished uploads are made older; they are kept for a day."""


@dataclass(frozen=True, slots=True)
class Series:
    """Upload of which each call meets the faults.

    Attributes:
        name: in the table.
        client: the sender.
        interrupted: whether a first connection has sent two thirds, and the calls are those of the second.
    """

    name: str
    client: Client
    interrupted: bool = False


@dataclass(slots=True)
class Outcome:
    """Result of a trial.

    Attributes:
        call: the call at which the fault came; empty if there was none.
        at: the place of the fault, in words.
        acknowledged: whether the sender had its answer before the fault.
        refused: the text of a refusal.
        faults: what is wrong.
    """

    call: str = ""
    at: str = ""
    acknowledged: bool = False
    refused: str = ""
    faults: list[str] = field(default_factory=list)


class Lab:
    """Place of the trials: a disk, and a daemon that receives files on it.

    Attributes:
        board: for the faults.
        disk: the disk.
        nursery: for daemons.
    """

    _numbers: ClassVar[count[int]] = count()

    def __init__(self, board: Board, disk: Disk, nursery: Nursery, seed: int) -> None:
        self.board = board
        self.disk = disk
        self.nursery = nursery
        self._bytes = random.Random(seed).randbytes(64 << 20)  # noqa: S311  # no secret
        self._descriptors = 0

    def file(self, client: Client, most: int | None = None) -> Sending:
        """Return a file to send, different from all others, of `most` bytes at most."""
        number = next(self._numbers)
        size = client.size if most is None else min(client.size, most)
        start = 4099 * number % (len(self._bytes) - size)
        return Sending(f"{number}.bin", self._bytes[start : start + size])

    def port(self, client: Client) -> int:
        """Return the port of a client's protocol."""
        return self.nursery.ports[client.protocol]

    def ready(self, options: str = "") -> None:
        """Have an empty disk and a daemon on it."""
        if not self.nursery.runs:
            self.disk.clear()
            self.start(options)

    def start(self, options: str = "") -> None:
        """Start the daemon."""
        self.board.watch(self.disk.folder)
        self.nursery.start(self.disk.received, options)
        self._descriptors = self.nursery.descriptors()

    def settle(self, *unfinished: Sending) -> str:
        """Wait until the daemon is at rest, or has ended; describe what it still holds.

        Args:
            unfinished: files that it may keep open, with their states, because their senders may go on.
        """
        most = self._descriptors + 2 * sum(bool(each.id and not each.stored) for each in unfinished)
        until = time.monotonic() + SETTLE
        while self.nursery.runs:
            if self.nursery.descriptors() <= most:
                return ""
            if time.monotonic() > until:
                return f"{self.nursery.descriptors() - self._descriptors} descriptors more than before"
            time.sleep(0.002)
        return ""


def calls(lab: Lab, series: Series) -> Sequence[str]:
    """Return the calls of an upload without a fault.

    Raises:
        MeasureError: it fails.
    """
    made, outcome = _meet(lab, series)
    if not made.stored or outcome.faults or list(verdict.faults(lab.disk.received, [made])):
        raise MeasureError(
            f"{series.name}: the upload fails without a fault: {made.refused} {outcome.faults}"
        )
    _tidy(lab)
    return lab.board.calls


def crash(lab: Lab, series: Series, deed: Deed, target: int) -> Outcome:
    """Kill the daemon, or cut the power of its disk, before a call of an upload; go on and compare.

    Raises:
        MeasureError: the daemon does not start.
    """
    made, outcome = _meet(lab, series, deed, target)
    outcome.faults.clear()  # descriptors of a daemon that ends
    if deed.action is Action.KILL:
        lab.nursery.kill()
    else:
        lose_power(lab, deed.value)
    outcome.faults += verdict.faults(lab.disk.received, [made])
    lab.start()
    finish(lab, series.client, made, outcome)
    look(lab, [made], outcome, cut=deed.action is Action.KILL)
    return outcome


def fail(lab: Lab, series: Series, deed: Deed, target: int) -> Outcome:
    """Let a call of an upload fail; the daemon has to say so, and to receive the file afterwards.

    Raises:
        MeasureError: the daemon does not start.
    """
    made, outcome = _meet(lab, series, deed, target)
    if not made.stored and not made.refused and not made.vanished:
        outcome.faults.append("the sender got no answer")
    if not lab.nursery.runs:
        outcome.faults.append(f"the daemon has ended: {lab.nursery.said()[-500:]}")
        lab.nursery.kill()
        lab.start()
    outcome.faults += verdict.faults(lab.disk.received, [made])
    finish(lab, series.client, made, outcome)
    look(lab, [made], outcome)
    return outcome


def _meet(lab: Lab, series: Series, deed: Deed = NOTHING, target: int = 0) -> tuple[Sending, Outcome]:
    """Send a file while something is done at one of its calls; return when the daemon is at rest, or gone."""
    made, port = lab.file(series.client), lab.port(series.client)
    lab.ready()
    if series.interrupted:
        series.client.send(port, made, leave_at=2 * len(made.data) // 3)
        if not made.told:
            raise MeasureError(f"{series.name}: the first connection fails: {made.refused}")
        lab.settle(made)
    lab.board.arm(lab.disk.folder, deed, target)
    series.client.send(port, made)
    left = lab.settle(made)
    lab.board.disarm()
    call = lab.board.calls[lab.board.hit - 1] if lab.board.hit else ""
    faults = [left] if left else []
    return made, Outcome(call, acknowledged=bool(made.stored), refused=made.refused, faults=faults)


def lose_power(lab: Lab, flags: int) -> None:
    """Cut the power of the disk, if that was not done yet, kill the daemon, and mount the disk again."""
    if not isinstance(lab.disk, Ext4):
        raise MeasureError("the power of this disk cannot be cut")
    lab.disk.cut(flags)
    lab.nursery.kill()
    lab.disk.restart()


def finish(lab: Lab, client: Client, made: Sending, outcome: Outcome) -> None:
    """Go on with a file after a fault until it is stored, and note what is wrong."""
    if made.stored:
        return
    told, known = made.told, bool(made.id)
    client.send(lab.port(client), made)
    if made.vanished and not (lab.disk.received / made.name).exists():
        outcome.faults.append(f"offset {told} was told, and neither the upload nor the file is there")
    elif made.vanished:  # it was stored, and the answer was lost
        made.stored = made.name
    elif client.resumes and known and 0 <= made.found < told:
        outcome.faults.append(f"offset {told} was told, and {made.found} is there")
    elif not made.stored:
        outcome.faults.append(f"it cannot be finished: {made.refused or 'no answer'}")


def look(lab: Lab, sendings: Sequence[Sending], outcome: Outcome, *, cut: bool = False) -> None:
    """Look at all that is there when everything is finished, and remove it.

    Args:
        lab: the place.
        sendings: all files that were sent.
        outcome: for what is wrong.
        cut: whether to cut the power at the end: what a killed daemon has left is acknowledged by the next.
    """
    outcome.faults += filter(None, [lab.settle()])
    outcome.faults += verdict.faults(lab.disk.received, sendings)
    if verdict.parts(lab.disk.received):
        _expire(lab, outcome)
    if cut and isinstance(lab.disk, Ext4):
        lose_power(lab, COLD)
        lost = (
            f"after a power cut at rest: {fault}" for fault in verdict.faults(lab.disk.received, sendings)
        )
        outcome.faults += lost
    elif outcome.faults:
        lab.nursery.kill()  # the next trial begins with an empty disk
    else:
        _tidy(lab)


def _expire(lab: Lab, outcome: Outcome) -> None:
    """Let what unfinished uploads have left expire; the next start has to remove it."""
    lab.nursery.stop()
    folder = lab.disk.received / verdict.PARTS
    then = time.time() - EXPIRED
    for name in verdict.parts(lab.disk.received):
        os.utime(folder / name, (then, then))
    lab.start()
    if left := verdict.parts(lab.disk.received):
        outcome.faults.append(f"not removed: {', '.join(left)}")


def _tidy(lab: Lab) -> None:
    """Remove the received files, as their owner would, durably."""
    for path in lab.disk.received.iterdir():
        if path.is_file():
            path.unlink()
    lab.disk.sync()
