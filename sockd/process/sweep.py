"""Removal of paths that a daemon cannot remove itself, as it has given up the rights of root.

A process that stays root waits for the end of the daemon's, however that comes, and removes its pid file and
its UNIX sockets from folders that are root's alone. Nothing can speak to it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sockd.control.folder import danger

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def sweep_at_end(paths: Iterable[Path]) -> int | None:
    """Start the process, if any of these sockets and pid files lies in a folder of root's.

    Returns:
        A descriptor that has to stay open as long as the daemon lives; None if there is nothing to do.
    """
    left = [(path, status) for path in paths if (status := _ours(path)) is not None]
    if not left:
        return None
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        return writing
    _wait_and_sweep(reading, left)


def _ours(path: Path) -> os.stat_result | None:
    """Return the status of a path that only root can replace; None where the user can remove it."""
    with suppress(OSError):
        if danger(path.parent, ()) is None:
            return path.lstat()
    return None


def _wait_and_sweep(reading: int, left: Iterable[tuple[Path, os.stat_result]]) -> NoReturn:
    try:
        os.setsid()  # Ctrl-C in a terminal is for the daemon
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor not in (reading, null):
                with suppress(OSError):  # that of the list itself
                    os.dup2(null, descriptor)
        Path("/proc/self/comm").write_text("sockd sweeper")
        os.read(reading, 1)
        for path, status in left:
            with suppress(OSError):
                if os.path.samestat(path.lstat(), status):
                    path.unlink()
    finally:
        os._exit(0)
