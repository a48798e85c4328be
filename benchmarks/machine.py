"""Facts about the machine of the measurements, and the load of other processes meanwhile."""

from __future__ import annotations

import os
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DESCRIPTORS = 9000
"""Descriptors for 8,000 connections in one process."""

RESERVED = 100
"""Descriptors of a process that are not connections."""


ROOT = Path(__file__).parent.parent

MEASURED = (ROOT / "sockd", ROOT / "plugins", ROOT / "benchmarks")


def cores() -> tuple[int, int]:
    """Choose one core for the servers and one for the load; the same if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def descriptors() -> int:
    """Raise the limit of descriptors as far as needed and allowed; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def description() -> str:
    """Describe processor, kernel and versions, in one line."""
    text = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    words = [models[0] if models else platform.machine(), f"Linux {platform.release()}"]
    words.append(f"Python {platform.python_version()}")
    for name in ("Twisted", "uvloop"):
        try:
            words.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(words)


def code() -> frozenset[tuple[Path, int]]:
    """Return the measured files with their times of change; servers read them again in every round."""
    files = (file for folder in MEASURED for file in folder.rglob("*.py"))
    return frozenset((file, file.stat().st_mtime_ns) for file in files)


class Others:
    """Share of some cores that was used by processes other than this one and its ended children."""

    def __init__(self, cores: set[int]) -> None:
        self._cores = cores
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._start: tuple[float, float, float] = self._read()

    def share(self) -> float:
        """Return the share since the beginning; 1 is all of the cores."""
        busy, own, all_of_it = (now - then for now, then in zip(self._read(), self._start, strict=True))
        return max(0.0, (busy - own) / all_of_it) if all_of_it else 0.0

    def _read(self) -> tuple[float, float, float]:
        """Read the seconds in which the cores were busy, those of our own processes, and all."""
        busy = whole = 0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *numbers = line.split()
            if name.startswith("cpu") and name != "cpu" and int(name[3:]) in self._cores:
                user, nice, system, idle, waiting, *rest = map(int, numbers[:8])
                busy += user + nice + system + sum(rest)
                whole += user + nice + system + sum(rest) + idle + waiting
        own = os.times()
        return busy / self._ticks, sum(own[:4]), whole / self._ticks
