"""Command `python -m benchmarks.uploads.slow`: memory of a receiver for each of many slow senders."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.processes import HOST, free_port
from benchmarks.uploads.measure import running
from benchmarks.uploads.receivers import FILES, RECEIVERS, Receiver
from benchmarks.zoo.size import Worst, size

SENDERS = 1000

BOUND = 96_000
"""Bytes for each sender at most."""

PIECE = 1000
"""Bytes that a sender sends at once."""

TURNS = 120
"""Pieces of each sender: nearly two of the smallest windows. One was written, the other is nearly full."""

PAUSE = 0.05
"""Seconds between two turns."""

_ANNOUNCED = 1_000_000

_HEADS: Mapping[str, str] = {
    "sockd-raw": "",
    "sockd-upload": f"put {_ANNOUNCED} - {{}}\n",
    "sockd-http": f"PUT /{{}} HTTP/1.1\r\nHost: here\r\nContent-Length: {_ANNOUNCED}\r\n\r\n",
    "nginx": f"PUT /{{}} HTTP/1.1\r\nHost: here\r\nContent-Length: {_ANNOUNCED}\r\n\r\n",
    "copyparty": f"PUT /{{}} HTTP/1.1\r\nHost: here\r\nContent-Length: {_ANNOUNCED}\r\n\r\n",
}
"""Beginning of an upload of each receiver, with a place for its name."""


def cost(receiver: Receiver, folder: Path, count: int) -> int:
    """Return the bytes of resident memory at worst for each sender, the receiver's own ones left out."""
    (folder / FILES).mkdir(parents=True)
    port = free_port("tcp")
    head = _HEADS[receiver.key]
    with running(receiver, port, folder, machine.cores()[0]) as process, ExitStack() as ends:
        for _ in _sending(port, head, "first", 1, ends):  # what the first upload loads is no sender's
            pass
        before = size(process.pid).resident
        with Worst(process.pid) as worst:
            for _ in _sending(port, head, "slow", count, ends):
                time.sleep(PAUSE)
            time.sleep(1)
        return (worst.most.resident - before) // count


def _sending(port: int, head: str, name: str, count: int, ends: ExitStack) -> Iterator[None]:
    """Let senders send piece after piece, each in its turn; yield between two turns."""
    peers = []
    for number in range(count):
        peers.append(ends.enter_context(socket.create_connection((HOST, port))))
        peers[-1].sendall(head.format(f"{name}{number}").encode())
    for _ in range(TURNS):
        for peer in peers:
            peer.sendall(bytes(PIECE))
        yield


@click.command()
@click.option("--count", type=click.IntRange(1), default=SENDERS, show_default=True, help="Slow senders.")
@click.option("--only", multiple=True, type=click.Choice(list(_HEADS)), help="Only this receiver.")
def main(count: int, only: tuple[str, ...]) -> None:
    """Measure what a slow sender costs; fails if it is more than 96 kB with sockd."""
    machine.descriptors()
    too_much = False
    print("| receiver | kB for each slow sender |\n| --- | ---: |")  # noqa: T201
    for receiver in RECEIVERS:
        if receiver.key not in (only or _HEADS) or receiver.absent():
            continue
        with tempfile.TemporaryDirectory(prefix="slow-") as folder:
            found = cost(receiver, Path(folder) / "own", count)
        print(f"| {receiver.title} | {found / 1000:.1f} |", flush=True)  # noqa: T201
        too_much |= receiver.key.startswith("sockd") and found > BOUND
    print(  # noqa: T201
        f"\n{count:,} senders, {PIECE} bytes each in turn, {TURNS} times. {machine.description()}, "
        f"{datetime.now():%Y-%m-%d}."
    )
    sys.exit(too_much)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.uploads.slow")
