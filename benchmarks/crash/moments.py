"""Crashes at random moments, while senders over all protocols are at work, and disks that are full."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from benchmarks.crash import verdict
from benchmarks.crash.disk import Small
from benchmarks.crash.sending import Client, Sending
from benchmarks.crash.trial import Lab, Outcome, finish, look, lose_power
from benchmarks.processes import MeasureError

LATEST = 0.8
"""Seconds after the first byte until the last possible moment."""

SIZES = tuple((size << 20) + 4321 for size in (1, 3, 9))
"""Bytes of a file at most while all are at work; the largest is synchronized before its end, too."""

GUESTS = "guest"
"""Name of the files that fill a disk."""


def at_random(lab: Lab, clients: Sequence[Client], chance: random.Random, flags: int | None) -> Outcome:
    """Kill the daemon, or cut its power, at a random moment of several uploads.

    Args:
        lab: the place.
        clients: one sender each.
        chance: for the moment.
        flags: of the cut; None to kill.
    """
    lab.ready()
    made = [(client, lab.file(client, chance.choice(SIZES))) for client in clients]
    with ThreadPoolExecutor(len(made)) as pool:
        running = [pool.submit(_send, lab, client, sending) for client, sending in made]
        time.sleep(chance.uniform(0, LATEST))
        if flags is None:
            os.kill(lab.nursery.pid, signal.SIGKILL)
            lab.settle()
            lab.nursery.kill()
        else:
            lose_power(lab, flags)
        for each in running:
            each.result()
    outcome = Outcome(acknowledged=all(sending.stored for _, sending in made))
    outcome.faults += verdict.faults(lab.disk.received, [sending for _, sending in made])
    lab.start()
    for client, sending in made:
        finish(lab, client, sending, outcome)
    look(lab, [sending for _, sending in made], outcome, cut=True)
    return outcome


def _send(lab: Lab, client: Client, sending: Sending) -> None:
    with suppress(OSError):  # the daemon has gone
        client.send(lab.port(client), sending)


def full(lab: Lab, client: Client, *, inodes: bool) -> Outcome:
    """Send to a full disk, and again when it has room.

    Args:
        lab: with a small disk.
        client: the sender.
        inodes: whether the disk has room for no more files, instead of no more bytes.

    Raises:
        MeasureError: the disk cannot be filled.
    """
    disk = lab.disk
    if not isinstance(disk, Small):
        raise MeasureError("this disk is too large to fill")
    lab.ready()
    disk.shrink()
    made = lab.file(client)
    if inodes:
        disk.fill(GUESTS)
    client.send(lab.port(client), made)
    outcome = Outcome(at="once", acknowledged=bool(made.stored), refused=made.refused)
    if made.stored or not made.refused:
        outcome.faults.append("the sender was not refused")
    outcome.faults += filter(None, [lab.settle()])
    disk.relieve(GUESTS)
    finish(lab, client, made, outcome)
    look(lab, [made], outcome)
    return outcome
