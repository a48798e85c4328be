"""Cost of receiving files by TFTP: `python -m benchmarks.tftp [ROUNDS]`.

sockd and tftpy (`pip install tftpy`) receive the same files from the same client, `client.c`, one after the
other, in every round in another order. sockd computes SHA-256 and synchronizes; tftpy does neither.

`bare.c` answers the same blocks and does nothing else: no server can cost less than that, and what it costs
more is its own. A client sends a window and waits for its acknowledgement. tftpy knows no windows (RFC 7440)
and gets single blocks. With one client each block wakes the server up; with 50 it has no pause.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from benchmarks.machine import cores, description
from benchmarks.processes import MeasureError, end, free_port, on_core

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent

PATIENCE = 120.0
"""Seconds for one file."""

SETTLING = 0.1
"""Seconds between two attempts to send the first file."""

STARTS = 200
"""Attempts to send the first file."""


@dataclass(frozen=True, slots=True)
class Case:
    """Way of sending.

    Attributes:
        block: bytes of a block.
        window: blocks of a window.
        clients: that send at once.
        size: bytes of each file.
    """

    block: int
    window: int
    clients: int
    size: int


CASES = (
    Case(512, 1, 1, 4_000_000),
    Case(1428, 1, 1, 10_000_000),
    Case(8192, 1, 1, 50_000_000),
    Case(512, 1, 50, 100_000),
    Case(1428, 1, 50, 300_000),
    Case(8192, 1, 50, 1_000_000),
    Case(512, 8, 1, 8_000_000),
    Case(1428, 16, 1, 20_000_000),
    Case(8192, 8, 1, 50_000_000),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a case.

    Attributes:
        rate: bytes a second.
        processor: seconds of the server's processor time for each byte.
    """

    rate: float
    processor: float


@dataclass(frozen=True, slots=True)
class Server:
    """Running server.

    Attributes:
        name: for the table.
        pid: of its process.
        port: at 127.0.0.1.
        folder: of the received files.
    """

    name: str
    pid: int
    port: int
    folder: Path

    def processor_time(self) -> float:
        """Return the processor time of all its threads, in seconds."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def sockd(folder: Path, core: int) -> Iterator[Server]:
    """Serve with sockd."""
    port = free_port("udp")
    (folder / "sockd.toml").write_text(
        '[service.files]\nplugin = "files"\noptions = { directory = "received" }\n'
        f'listen = [{{ endpoint = "udp:{port}:interface=127.0.0.1", protocol = "tftp" }}]\n'
    )
    with _running([str(BIN / "sockd"), "run", "-c", "sockd.toml"], folder, core) as pid:
        yield Server("sockd", pid, port, folder / "received")


@contextmanager
def tftpy(folder: Path, core: int) -> Iterator[Server]:
    """Serve with tftpy."""
    port = free_port("udp")
    received = folder / "tftpy"
    received.mkdir()
    with _running(
        [sys.executable, str(HERE / "tftpy_server.py"), str(port), str(received)], folder, core
    ) as pid:
        yield Server("tftpy", pid, port, received)


@contextmanager
def bare(folder: Path, core: int) -> Iterator[Server]:
    """Answer in a bare loop of C."""
    port = free_port("udp")
    with _running([str(_compiled("bare.c", folder)), str(port)], folder, core) as pid:
        yield Server("bare", pid, port, folder)


def _compiled(source: str, folder: Path) -> Path:
    """Compile a program of this folder into another one."""
    program = folder / Path(source).stem
    subprocess.run(["gcc", "-O2", "-o", program, HERE / source], check=True)  # noqa: S603, S607
    return program


@contextmanager
def _running(words: list[str], folder: Path, core: int) -> Iterator[int]:
    with on_core(core):
        process = subprocess.Popen(  # noqa: S603  # commands of this repository
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield process.pid
    finally:
        end(process)


class Load:
    """Client, compiled; on a core of its own.

    Args:
        folder: for the program.
        core: of the client.
    """

    def __init__(self, folder: Path, core: int) -> None:
        self._program = _compiled("client.c", folder)
        self._core = core
        self._names = 0

    def wait_for(self, server: Server) -> None:
        """Wait until a server receives a file."""
        for _ in range(STARTS):
            if self._send(server, Case(512, 1, 1, 1)):
                return
            time.sleep(SETTLING)
        raise MeasureError(f"{server.name} receives no file")

    def measure(self, server: Server, case: Case) -> Cost:
        """Send the files of a case."""
        before, began = server.processor_time(), time.monotonic()
        if not self._send(server, case):
            raise MeasureError(f"{server.name}: a file of {case} has failed")
        took, processor = time.monotonic() - began, server.processor_time() - before
        for file in server.folder.glob("file-*"):
            file.unlink()
        sent = case.clients * case.size
        return Cost(sent / took, processor / sent)

    def _send(self, server: Server, case: Case) -> bool:
        self._names += 1
        words = (server.port, f"file-{self._names}", case.size, case.block, case.window, case.clients)
        with on_core(self._core):
            ended = subprocess.run(  # noqa: S603  # the program of this folder
                [self._program, *map(str, words)], timeout=PATIENCE, check=False, stderr=subprocess.DEVNULL
            )
        return ended.returncode == 0


SERVERS = ("sockd", "tftpy", "bare")


def table(costs: dict[tuple[Case, str], list[Cost]]) -> Iterator[str]:
    """Yield the lines of the table: medians, and the ratios of the processor times."""
    columns = [f"{name} {unit}" for unit in ("MB/s", "s/GB") for name in SERVERS]
    heads = ["blksize", "windowsize", "clients", *columns, "tftpy / sockd", "tftpy / bare"]
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---:' for _ in heads)} |"
    for case in CASES:
        found = [
            Cost(median(cost.rate for cost in each), median(cost.processor for cost in each))
            for each in (costs[case, name] for name in SERVERS)
        ]
        ours, theirs, least = (cost.processor for cost in found)
        figures = (
            *(f"{cost.rate / 1e6:.1f}" for cost in found),
            *(f"{cost.processor * 1e9:.1f}" for cost in found),
            f"{theirs / ours:.1f}",
            f"{theirs / least:.1f}",
        )
        yield f"| {case.block} | {case.window} | {case.clients} | {' | '.join(figures)} |"


@click.command()
@click.argument("rounds", type=click.IntRange(min=1), default=5)
def main(rounds: int) -> None:
    """Compare sockd with tftpy and a bare loop in ROUNDS rounds (5 by default)."""
    if importlib.util.find_spec("tftpy") is None:
        raise click.ClickException("there is no tftpy here: pip install tftpy")
    server_core, client_core = cores()
    costs: dict[tuple[Case, str], list[Cost]] = {}
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            sockd(Path(name), server_core) as ours,
            tftpy(Path(name), server_core) as theirs,
            bare(Path(name), server_core) as least,
        ):
            load = Load(Path(name), client_core)
            load.wait_for(ours)
            load.wait_for(theirs)
            for number in range(rounds):
                for case in CASES:
                    for server in (ours, theirs, least) if number % 2 else (least, theirs, ours):
                        costs.setdefault((case, server.name), []).append(load.measure(server, case))
    except (MeasureError, OSError, subprocess.SubprocessError) as error:
        raise click.ClickException(str(error)) from None
    click.echo("\n".join(table(costs)))
    busy = os.getloadavg()[0]
    click.echo(f"\nMedians of {rounds} rounds; load of the machine {busy:.1f}. {description()}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.tftp")
