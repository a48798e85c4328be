"""Board: page of memory that tells a preloaded library (`shim.c`) where to act, and has what it saw."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from benchmarks.processes import MeasureError

VARIABLE = "SOCKD_CRASH_BOARD"
"""Environment variable with the path of the board."""

CALLS = 4096
"""Calls of which the library keeps the names."""

HERE = Path(__file__).parent


class Action(IntEnum):
    """Deed of the library at a call."""

    NOTHING = 0
    KILL = 1
    CUT = 2
    ERROR = 3
    SHORT = 4
    DIE = 5


class _Page(ctypes.Structure):
    _fields_ = (
        ("armed", ctypes.c_uint32),
        ("action", ctypes.c_uint32),
        ("target", ctypes.c_uint32),
        ("lasting", ctypes.c_uint32),
        ("value", ctypes.c_uint32),
        ("no_sync", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("hit", ctypes.c_uint32),
        ("folder", ctypes.c_char * 256),
        ("calls", (ctypes.c_char * 16) * CALLS),
    )


@dataclass(frozen=True, slots=True)
class Deed:
    """Action at one call.

    Attributes:
        action: the action.
        value: errno of an error, flags of a cut or of the death of a disk.
        lasting: whether every later call meets it too.
    """

    action: Action
    value: int = 0
    lasting: bool = False


NOTHING = Deed(Action.NOTHING)


class Board:
    """Board of one run, with the compiled library.

    Args:
        folder: for both files.
        no_sync: whether synchronizations are to report success without being done.

    Raises:
        MeasureError: the library cannot be compiled.
    """

    def __init__(self, folder: Path, *, no_sync: bool = False) -> None:
        self.library = folder / "shim.so"
        self.path = folder / "board"
        command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(self.library), str(HERE / "shim.c")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own
        except OSError as error:
            raise MeasureError(f"gcc: {error.strerror}") from None
        if done.returncode:
            raise MeasureError(f"gcc ended with {done.returncode}: {done.stderr.strip()}")
        self.path.write_bytes(bytes(ctypes.sizeof(_Page)))
        with self.path.open("r+b") as file:
            self._page = _Page.from_buffer(mmap.mmap(file.fileno(), 0))
        self._page.no_sync = no_sync

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a process that the library is to be in."""
        return {"LD_PRELOAD": str(self.library), VARIABLE: str(self.path)}

    def arm(self, folder: Path, deed: Deed = NOTHING, target: int = 0) -> None:
        """Count the calls within a folder from now on, and act at one of them."""
        page = self._page
        page.armed = 0
        page.folder = str(folder).encode()
        page.action, page.value, page.lasting, page.target = deed.action, deed.value, deed.lasting, target
        page.count = page.hit = 0
        page.armed = 1

    def watch(self, folder: Path) -> None:
        """Let synchronizations within a folder be left out, if any are."""
        self._page.folder = str(folder).encode()

    def disarm(self) -> None:
        """Act at no call any more."""
        self._page.armed = 0

    @property
    def hit(self) -> int:
        """Number of the call at which the library acted last; 0 if it did not."""
        return int(self._page.hit)

    @property
    def calls(self) -> Sequence[str]:
        """Names of the calls since the board was armed, in their order."""
        return [self._page.calls[number].value.decode() for number in range(1, self._page.count + 1)]
