"""Way of a daemon into the background, and its report to the process that has started it.

twistd detaches too, but its parent waits for ever for a child that is killed, and returns before anything is
served. Here it returns when the daemon serves, or has ended (daemon(7), the steps of SysV daemons).
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sockd.process.pidfile import PidFile, PidFileError
from sockd.process.sweep import sweep_at_end

UMASK = 0o077
"""The umask of a daemon in the background, the same as twistd's."""

_READY, _FAILED = b"0", b"1"
"""Reports of the daemon to the process that waits: it serves; it has written why it does not."""


class Launch:
    """Launch of a daemon: `begin`, then `ready` or `failed`.

    Args:
        pid_file: locked; None for none.
        background: whether to detach.
        umask: of a daemon that detaches; None for `UMASK`.

    Attributes:
        sweeps: paths of sockets that are root's to remove, as the daemon goes on as another user.
        sweeper: the descriptor that has to stay open until the end, if there are such paths.
    """

    def __init__(
        self, pid_file: PidFile | None = None, *, background: bool = False, umask: int | None = None
    ) -> None:
        self.pid_file = pid_file
        self.sweeps: Sequence[Path] = ()
        self.sweeper: int | None = None
        self._background = background
        self._umask = umask
        self._waiting: int | None = None  # the pipe to the process that waits
        # Until everything is open there is somebody to complain to, even after it has detached.
        self._errors: int | None = os.dup(2)
        # While it can be reached, whatever --chroot says.
        self._null = os.open(os.devnull, os.O_RDWR) if background else -1

    def begin(self) -> None:
        """Detach, if that was asked for, and write the pid file; only the daemon returns from here."""
        if self._background:
            self._detach()
        if self.pid_file is not None:
            try:
                self.pid_file.write()
            except PidFileError as error:
                self.failed(f"sockd: {error}")
                sys.exit(1)
        self.sweeper = sweep_at_end(self.sweeps)

    def ready(self) -> None:
        """Report that the daemon serves, to the process that waits."""
        self._report(_READY)

    def failed(self, text: str) -> None:
        """Report why the daemon cannot serve, and remove the pid file."""
        if self._errors is not None:
            with suppress(OSError):  # nobody reads it
                os.write(self._errors, f"{text}\n".encode(errors="backslashreplace"))
        if self.pid_file is not None:
            self.pid_file.remove()
        self._report(_FAILED)

    def _report(self, outcome: bytes) -> None:
        if self._errors is not None:
            os.close(self._errors)
            self._errors = None
        if self._waiting is not None:
            with suppress(OSError):
                os.write(self._waiting, outcome)
            os.close(self._waiting)
            self._waiting = None

    def _detach(self) -> None:
        reading, writing = os.pipe()
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            os._exit(1 if status else 0)
        os.setsid()
        # The daemon leads no session, so that no terminal can become its own.
        if daemon := os.fork():
            os.close(writing)
            os._exit(_outcome(reading, daemon))
        os.close(reading)
        self._waiting = writing
        for descriptor in range(3):
            os.dup2(self._null, descriptor)
        os.close(self._null)
        os.umask(UMASK if self._umask is None else self._umask)


def _outcome(reading: int, daemon: int) -> int:
    """Wait for the report or the end of the daemon, and return the exit code of the process that waits."""
    # Not the end of the pipe alone: programs that the daemon has forked may hold it too.
    poll = select.poll()
    for descriptor in (reading, os.pidfd_open(daemon)):
        poll.register(descriptor, select.POLLIN)
    poll.poll()
    os.set_blocking(reading, False)
    try:
        report = os.read(reading, 1)
    except BlockingIOError:
        report = b""
    if report == _READY:
        return 0
    if not report:
        _, status = os.waitpid(daemon, 0)
        how = os.waitstatus_to_exitcode(status)
        words = signal.Signals(-how).name if how < 0 else f"exit code {how}"
        os.write(2, f"sockd: the daemon ended before it served ({words})\n".encode())
    return 1
