"""Many small files: one `sockd send` for all, and one curl for each."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import BIN
from benchmarks.processes import HOST, MeasureError, free_port, on_core
from benchmarks.uploads.measure import cpu, running
from benchmarks.uploads.receivers import FILES, RECEIVERS, Receiver

COUNT = 10_000

SIZE = 4096
"""Bytes of a file."""

SHARE = 10
"""One in so many files is sent by clients that are started for each: their rate does not depend on it."""

_PATIENCE = 900.0  # seconds for all files

_EACH = 'for file in "$1"/*; do curl -sSf -o /dev/null -T "$file" "$2" || exit 1; done'


@dataclass(frozen=True, slots=True)
class Way:
    """Way to send many files.

    Attributes:
        title: its name in the table.
        receiver: key of the server.
        share: one in so many files is sent.
        send: sends the files of a folder to a port.
    """

    title: str
    receiver: str
    share: int
    send: Callable[[int, Path], None]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(  # noqa: S603  # commands of this module
        command, capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        raise MeasureError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-200:]}")


def _sockd_send(port: int, folder: Path) -> None:
    files = [str(path) for path in sorted(folder.iterdir())]
    _run([f"{BIN}/sockd", "send", "--quiet", *files, f"tcp:{HOST}:{port}"])


def _curl_each(port: int, folder: Path) -> None:
    _run(["sh", "-c", _EACH, "sh", str(folder), f"http://{HOST}:{port}/"])


WAYS = (
    Way("one `sockd send`, to sockd `upload`", "sockd-upload", 1, _sockd_send),
    Way("a `curl -T` for each, to sockd `http`", "sockd-http", SHARE, _curl_each),
    Way("a `curl -T` for each, to nginx", "nginx", SHARE, _curl_each),
)


def compare(count: int, folder: Path, cores: tuple[int, int]) -> list[str]:
    """Send small files in each way; return the rows of a table in Markdown.

    Args:
        count: files.
        folder: of this run.
        cores: of the receiver, and of the sender.
    """
    receivers = {receiver.key: receiver for receiver in RECEIVERS if not receiver.absent()}
    rows = ["| small files | files/s | receiver's CPU ms a file |", "| --- | ---: | ---: |"]
    for number, way in enumerate(WAYS):
        if way.receiver in receivers:
            own = folder / f"small-{number}"
            rate, cost = _measure(way, receivers[way.receiver], max(count // way.share, 1), own, cores)
            rows.append(f"| {way.title} | {rate:.0f} | {cost:.2f} |")
    return rows


def _measure(
    way: Way, receiver: Receiver, count: int, folder: Path, cores: tuple[int, int]
) -> tuple[float, float]:
    (folder / FILES).mkdir(parents=True)
    sent = folder / "sent"
    sent.mkdir()
    for number in range(count):
        (sent / f"{number:05}").write_bytes(os.urandom(SIZE))
    port = free_port("tcp")
    with running(receiver, port, folder, cores[0]) as process, on_core(cores[1]):
        before = cpu(process.pid)
        began = time.perf_counter()
        way.send(port, sent)
        seconds = time.perf_counter() - began
        spent = cpu(process.pid) - before
    stored = sum(path.is_file() and path.stat().st_size == SIZE for path in (folder / FILES).iterdir())
    if stored != count:
        raise MeasureError(f"{way.title}: {stored} of {count} files were stored")
    return count / seconds, spent / count * 1000
