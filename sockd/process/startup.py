"""Settings of a process that is going to serve, before it loads anything else.

Until a daemon handles them, SIGHUP, SIGUSR1 and SIGUSR2 would end the process; they are noted instead.
Standard descriptors that are closed are opened on /dev/null: otherwise the first sockets get their numbers,
and lose them when the daemon detaches.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping

from sockd.process.memory import GC_YOUNG

SIGNALS = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})
"""Orders to a daemon, whose default is to end the process (signal(7))."""

STANDARD = 3
"""Standard input, output and error are the descriptors below it."""

_noted: set[int] = set()


def prepare() -> None:
    """Note `SIGNALS`, and make sure that the standard descriptors are open. May execute the process anew."""
    open_standard_descriptors(SIGNALS)
    for number in SIGNALS:
        # A handler, not SIG_IGN: programs that are started later would inherit that.
        signal.signal(number, _note)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the start is no traceback
    # Whoever has executed this process holds them back until here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    gc.set_threshold(GC_YOUNG)  # modules leave no garbage; the search for it is a tenth of the start


def open_standard_descriptors(held_back: Iterable[signal.Signals] = ()) -> None:
    """Make sure that the standard descriptors are open.

    May execute the process again, which then finds `held_back` blocked.
    """
    if None in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        _execute_with_standard_descriptors(held_back)


def obey(orders: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """Call these functions when their signals come, and once for those that have been noted."""
    for number, order in orders.items():
        signal.signal(number, lambda *_, order=order: order())
        if number in _noted:
            _noted.discard(number)
            order()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, orders)
    # The interpreter gives up its handlers before the process ends.
    atexit.register(_ignore)


def _note(number: int, frame: object) -> None:  # noqa: ARG001  # as signal calls it
    _noted.add(number)


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _execute_with_standard_descriptors(held_back: Iterable[signal.Signals]) -> None:
    """Begin again with every standard descriptor open.

    What was loaded before may have opened something under one of their numbers; the kernel closes that.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor, stream in enumerate((sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        if stream is None:
            os.dup2(null, descriptor)
    os.set_inheritable(null, null < STANDARD)
    signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # the same command
