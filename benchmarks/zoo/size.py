"""Size of a process: its memory and its descriptors, now and at worst."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

LOOK_EVERY = 0.1
"""Seconds between two samples."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of resident memory, and open descriptors."""

    resident: int
    descriptors: int


def size(pid: int) -> Size:
    """Return the present size of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Size(pages * os.sysconf("SC_PAGESIZE"), len(os.listdir(f"/proc/{pid}/fd")))


class Worst:
    """Largest size of a process between the beginning and the end of a block."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = size(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def most(self) -> Size:
        """Largest values so far, each by itself."""
        return self._most

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            now = size(self._pid)
            self._most = Size(
                max(now.resident, self._most.resident), max(now.descriptors, self._most.descriptors)
            )
