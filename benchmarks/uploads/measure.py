"""Measurements of one file at one receiver."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import HOST, START_TIMEOUT, StartError, free_port, on_core
from benchmarks.uploads.receivers import FILES, Receiver

_TICKS = os.sysconf("SC_CLK_TCK")

_STOP_TIMEOUT = 10.0

AT_REST = 0.3
"""Seconds without processor time after which a server has done what belongs to a file."""


@dataclass(frozen=True, slots=True)
class Sample:
    """File at a receiver.

    Attributes:
        size: bytes.
        seconds: from the first byte until the receiver has confirmed.
        cpu: processor seconds of the receiver, with its children.
    """

    size: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Megabytes a second."""
        return self.size / self.seconds / 1e6

    @property
    def cost(self) -> float:
        """Processor seconds for a gigabyte."""
        return self.cpu / self.size * 1e9


def measure(receiver: Receiver, file: Path, folder: Path, cores: tuple[int, int]) -> Sample:
    """Start a receiver, send it a file, and end it.

    Args:
        receiver: the receiver.
        file: the file.
        folder: for its own files; emptied before.
        cores: of the receiver, and of the sender.

    Raises:
        MeasureError: it does not start, or does not take the file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / FILES).mkdir(parents=True)
    port = free_port("tcp")
    with running(receiver, port, folder, cores[0]) as process, on_core(cores[1]):
        before = cpu(process.pid)
        began = time.perf_counter()
        receiver.send(port, file, folder)
        seconds = time.perf_counter() - began
        if receiver.serves_once:
            _, _, used = os.wait4(process.pid, 0)
            process.returncode = 0
            spent = used.ru_utime + used.ru_stime
        else:
            spent = _at_rest(process.pid) - before
    _check(file, folder / FILES)
    return Sample(file.stat().st_size, seconds, spent)


def cpu(pid: int) -> float:
    """Return the processor seconds of a process, with its living and ended descendants."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            ticks[int(entry.name)] = sum(map(int, fields[11:15]))

    def belongs(process: int) -> bool:
        while process > 1 and process != pid:
            process = parents.get(process, 0)
        return process == pid

    return sum(used for process, used in ticks.items() if belongs(process)) / _TICKS


def _at_rest(pid: int) -> float:
    """Return the processor time of a process once it does not grow any more."""
    before = -1.0
    while before != (now := cpu(pid)):
        before = now
        time.sleep(AT_REST)
    return now


def _check(file: Path, folder: Path) -> None:
    """Compare the size of what was received; other programs beside the file are notes of the receiver."""
    size = file.stat().st_size
    if not any(path.is_file() and path.stat().st_size == size for path in folder.rglob("*")):
        raise StartError(f"no file of {size} bytes was stored")


@contextmanager
def running(receiver: Receiver, port: int, folder: Path, core: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a receiver until the end of the block."""
    words = receiver.command(port, folder)
    with (folder / "output").open("w") as output, on_core(core):
        process = subprocess.Popen(  # noqa: S603  # commands of this repository
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_it_listens(process, port, folder / "output")
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    """Wait for a listener without connecting: a receiver that serves once would take that for its file."""
    wanted = f"{int.from_bytes(socket.inet_aton(HOST), 'little'):08X}:{port:04X}"
    until = time.monotonic() + START_TIMEOUT
    while time.monotonic() < until:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        if any(line.split()[1] == wanted and line.split()[3] == "0A" for line in lines):
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise StartError(f"it does not listen: {output.read_text(errors='replace')[-300:]}")
