"""A worker's process, as its parent sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class Process:
    """A fresh interpreter with one end of a socket pair, and beside that standard output and error.

    It is watched by a descriptor of its own (pidfd_open(2)), so that its end is noticed whatever else handles
    SIGCHLD, and no signal can reach another process that has got its number.

    Args:
        reactor: watches it.
        ended: called once when it has ended, with its exit code; for a signal that is a negative number.
        options: what its command line has behind the descriptor.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, reactor: Any, ended: Callable[[int], None], *options: str) -> None:
        self._reactor = reactor
        self._ended = ended
        self.channel, other = socket.socketpair()
        try:
            # -P: the folder that it is started in holds no code of sockd's.
            command = [sys.executable, "-P", "-m", "sockd.supervisor.worker", str(other.fileno()), *options]
            self._process = subprocess.Popen(  # noqa: S603  # a fixed command
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor
            )
            try:
                self._descriptor = os.pidfd_open(self._process.pid)
            except OSError:
                self._process.kill()
                self._process.wait()
                raise
        except BaseException:  # whatever it was, no descriptor stays open
            self.channel.close()
            raise
        finally:
            other.close()
        self.pid = self._process.pid
        reactor.addReader(self)

    def signal(self, number: int) -> None:
        """Send it a signal; to one that has ended, nothing."""
        if self._descriptor >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def doRead(self) -> None:
        """It has ended."""
        code = self._process.wait()
        self._reactor.removeReader(self)
        os.close(self._descriptor)
        self._descriptor = -1
        self._ended(code)

    def connectionLost(self, reason: Failure) -> None:  # as IReadDescriptor has it
        """The reactor found the descriptor broken, or has ended."""

    def fileno(self) -> int:
        """Readable once it has ended."""
        return self._descriptor

    def logPrefix(self) -> str:
        """What Twisted's log calls it."""
        return type(self).__name__


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
