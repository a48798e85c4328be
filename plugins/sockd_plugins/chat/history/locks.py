"""Locks between processes, and between two instances of the plugin in one process (flock(2)).

`history.owner` is held by the history that numbers messages. At a reload or an upgrade the new instance
starts beside the old one, which still serves. The old one gives the lock up when it has stored its last
message; the new one takes it before it looks for the last number of any room, and people who have come to it
meanwhile wait. So no number is used twice and none is left out. The kernel frees the lock of a process that
is killed.

`history.turn` keeps apart a checkpoint of the owner and the changes of commands beside it: versions of SQLite
before 3.51.3 may damage a database in which both happen at the same moment (sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sockd_plugins.database import DatabaseError
from sockd_plugins.own_files import give_to_owner, make_folder

OWNER = "history.owner"
TURN = "history.turn"

_PAUSE = 0.02
"""Seconds between tries."""

_TURN_SECONDS = 10.0
"""Seconds for a checkpoint, or for a step of a command, on a busy disk."""


class Lock:
    """Lock by the name of a file, which stays.

    Args:
        path: the file; made, with its folder, when it is needed. It has the number of the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def try_take(self) -> bool:
        """Take the lock if nobody else has it.

        Raises:
            OSError: the file cannot be opened.
        """
        if self._file is not None:
            return True
        make_folder(self._path.parent)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(OSError):  # the number is for people, and the disk may be full
                give_to_owner(self._path)
                os.ftruncate(file, 0)
                os.pwrite(file, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            os.close(file)
            return False
        except BaseException:  # whatever it was, no descriptor stays
            os.close(file)
            raise
        self._file = file
        return True

    def take(self, seconds: float, ended: Callable[[], bool] = lambda: False) -> None:
        """Take the lock; wait for it.

        Args:
            seconds: to wait at most.
            ended: tells that there is no need any more.

        Raises:
            OSError: another process has it for longer, or there is no need any more.
        """
        until = time.monotonic() + seconds
        while not self.try_take():
            if ended() or time.monotonic() >= until:
                why = f"process {self._holder()} has the lock {self._path.name}"
                raise DatabaseError(errno.EBUSY, why, str(self._path))
            time.sleep(_PAUSE)

    def give_up(self) -> None:
        """Let others take the lock."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a step.

        Raises:
            OSError: another process has it for too long.
        """
        self.take(_TURN_SECONDS)
        try:
            yield
        finally:
            self.give_up()

    def _holder(self) -> str:
        with suppress(OSError):
            return self._path.read_text()[:20].strip() or "?"
        return "?"
