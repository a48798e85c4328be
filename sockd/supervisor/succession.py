"""Puts the code that is installed now in the place of the supervisor that runs, within the same process.

First a process of its own tries it: it reads the state that would be handed over, builds everything from it,
loads every plugin, and serves nobody. Only if that has succeeded the supervisor executes the new code
(execve(2)). Its process stays what it was, and so do its children, its open descriptors and whatever watches
it by its number.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred

from sockd.ipc.child import ChildProcess, how_it_ended, start
from sockd.supervisor.handover import Handover

SUCCESSOR = "sockd.supervisor.successor"
TRIAL = "trial"

TRIAL_TIMEOUT = 30.0
"""Seconds in which the new code loads itself and every plugin."""

LONGEST_REPORT = 64 * 1024
"""Bytes that are read of what the trial complains about."""

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})
"""Signals that the supervisor handles; blocked while there is no handler, as each would end the process."""


class NotReplaced(Exception):
    """The installed code cannot take over; the running code goes on. The text gives the reason."""


async def try_out(handover: Handover, reactor: Any) -> None:
    """Let a process of its own do all that the new image would, up to serving.

    Raises:
        NotReplaced: it could not.
    """
    errors = os.memfd_create("sockd trial")
    try:
        ended: Deferred[int] = Deferred()
        with handover.written() as state:
            try:
                pid = start(SUCCESSOR, str(state), TRIAL, keep=[state, *handover.descriptors], errors=errors)
            except OSError as error:
                raise NotReplaced(f"the new code cannot be tried: {error.strerror}") from error
        process = ChildProcess(reactor, pid, ended.callback)
        timer = reactor.callLater(TRIAL_TIMEOUT, process.signal, signal.SIGKILL)
        code = await ended
        if timer.active():
            timer.cancel()
        report = os.pread(errors, LONGEST_REPORT, 0).decode(errors="replace").strip()
    finally:
        os.close(errors)
    if code:
        raise NotReplaced(report or f"the new code ends while it is tried ({how_it_ended(code)})")


def execute(handover: Handover) -> None:
    """Execute the new code in this process (execve(2)). Returns only by an error.

    Raises:
        NotReplaced: it does.
    """
    with handover.written() as state:
        inherited = [state, *handover.descriptors]
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            _set_inheritable(inherited, True)
            os.execv(sys.executable, [sys.executable, "-P", "-m", SUCCESSOR, str(state)])  # noqa: S606
        except OSError as error:
            _set_inheritable(inherited, False)
            raise NotReplaced(f"{sys.executable} cannot be executed: {error.strerror}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _set_inheritable(descriptors: Iterable[int], inheritable: bool) -> None:
    for descriptor in descriptors:
        os.set_inheritable(descriptor, inheritable)
