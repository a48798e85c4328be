"""The life of a daemon's process: how it settles, how it is described, and how its end is made sure."""

from __future__ import annotations

import gc
import os
import signal
import threading

HURRY = 1
"""Seconds that the daemon has after a second signal, before the kernel ends it."""

PLUGIN_STOP_TIMEOUT = 5.0
"""Seconds that one plugin's `stop` may take."""

INIT = 1
"""The first process of a container; the kernel lets no signal end it that it does not handle."""

WATCH_EVERY = 0.5
"""Seconds between two looks at the configuration's files."""

READ_TIMEOUT = 30.0
"""Seconds in which the files of the configuration are read."""

TOO_SLOW = f"the files of the configuration could not be read within {READ_TIMEOUT:g} s: does a mount hang?"

GC_YOUNG = 10_000
"""New objects between two looks for garbage in cycles; connections that are over leave none behind."""


def in_words(services: int, listeners: int, *, config_ok: bool) -> str:
    """What a daemon does that serves, in one line."""
    fault = "" if config_ok else "; the configuration read last is not served: see the log"
    return f"services: {services}, listeners: {listeners}{fault}"


def end_within(seconds: float) -> None:
    """Let the kernel end the process: nothing that a plugin does can prevent it, as it needs no reactor."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if os.getpid() == INIT:
        timer = threading.Timer(seconds, os._exit, [128 + signal.SIGALRM])
        timer.daemon = True
        timer.start()


def settle_memory() -> None:
    """Spare the garbage collector what stays to the end: a tenth of what a short connection costs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 20, 50)
