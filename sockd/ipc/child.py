"""Child processes: their start, signals and end."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.process.startup import SIGNALS
from sockd.sockets.holder import user_name

WORKER = "sockd.serving"

_PR_SET_PDEATHSIG = 1


def start(module: str, *arguments: str, keep: Sequence[int], errors: int | None = None) -> int:
    """Start a fresh interpreter that runs a module, and return its number; the caller watches it.

    Args:
        module: of sockd.
        arguments: of its command line.
        keep: descriptors that it inherits, beside standard output and error.
        errors: what its standard error is, instead of this process's.

    Raises:
        OSError: it cannot be started.
    """
    # It inherits the mask, and lets signals come when it can note them.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        process = subprocess.Popen(  # noqa: S603  # a fixed command
            # -P: the folder that it is started in holds no code of sockd's.
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=keep,
            start_new_session=True,  # Ctrl-C in a terminal is for the supervisor
        )
    except PermissionError as error:
        user = user_name(os.geteuid())
        raise PermissionError(f"workers cannot start: {user} cannot execute {sys.executable}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    process.returncode = 0  # its end is not this object's to wait for, nor that of its garbage collection
    return process.pid


def start_worker(*options: str) -> tuple[int, socket.socket]:
    """Start a worker's process; return its number and one end of a socket pair. Raises as `start` does.

    Args:
        options: what its command line has behind the descriptor.
    """
    channel, other = socket.socketpair()
    try:
        pid = start(WORKER, str(other.fileno()), *options, keep=[other.fileno()])
    except BaseException:  # whatever it was, no descriptor stays open
        channel.close()
        raise
    finally:
        other.close()
    return pid, channel


@implementer(IReadDescriptor)
class ChildProcess:
    """Child of this process.

    It is watched by a descriptor of its own (pidfd_open(2)), so that its end is noticed whatever else handles
    SIGCHLD, and no signal can reach another process that has got its number.

    Args:
        reactor: watches it.
        pid: its number.
        ended: called once when it has ended, with its exit code; for a signal that is a negative number.

    Raises:
        OSError: it cannot be watched.
    """

    def __init__(self, reactor: Any, pid: int, ended: Callable[[int], None]) -> None:
        self.pid = pid
        self._reactor = reactor
        self._ended = ended
        self._descriptor = os.pidfd_open(pid)
        reactor.addReader(self)

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self._descriptor >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def doRead(self) -> None:
        """Collect the exit code; the process has ended."""
        _, status = os.waitpid(self.pid, 0)
        self._reactor.removeReader(self)
        os.close(self._descriptor)
        self._descriptor = -1
        self._ended(os.waitstatus_to_exitcode(status))

    def connectionLost(self, reason: Failure) -> None:  # as IReadDescriptor has it
        """Do nothing; the reactor has ended."""

    def fileno(self) -> int:
        """Return the pidfd, which is readable once the process has ended."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return type(self).__name__


def die_with_parent() -> None:
    """Let the kernel end this process when the one that has started it is gone, whatever ended that."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def name_process(name: str) -> None:
    """Name this process, for `ps -o comm` and `top`, so that an operator can tell them apart."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def how_it_ended(code: int) -> str:
    """Return an exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
