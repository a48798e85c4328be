"""The end of a process within a limit of time, whatever a plugin does."""

from __future__ import annotations

import os
import signal
import threading

HURRY = 1
"""Seconds that a process has after a second signal to end, before the kernel ends it."""

PLUGIN_STOP_TIMEOUT = 5.0
"""Seconds that one plugin's `stop` may take."""

INIT = 1
"""Number of the first process of a container; the kernel delivers it no signal that it does not handle."""


def end_within(seconds: float) -> None:
    """Let the kernel end this process after so many seconds (setitimer(2)); that needs no reactor.

    A later call replaces the limit.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if os.getpid() == INIT:
        timer = threading.Timer(seconds, os._exit, [128 + signal.SIGALRM])
        timer.daemon = True
        timer.start()
