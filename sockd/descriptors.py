"""Keeps accepting away from the last file descriptors, so that whoever needs one still gets it."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

RESERVE = 192
"""Descriptors that connections leave to others: a reactor accepts a hundred before anybody can look, and
plugins, logs and the control socket need some."""

LOOK_EVERY = 16
"""Connections between two looks."""

PAUSE = 0.1
"""Seconds."""


class Hold(Protocol):
    """Pauses accepting."""

    def __call__(self, *, held: bool) -> None:
        """Whether it has to pause."""


class Descriptors:
    """How many descriptors the process may still open.

    Args:
        clock: for the pauses.
        hold: called with whether accepting has to pause.
        short: told once for each pause, with the limit.
    """

    __slots__ = ("_clock", "_edge", "_hold", "_short", "_since", "holding", "most")

    def __init__(self, clock: IReactorTime, hold: Hold, short: Callable[[int], None]) -> None:
        self._clock = clock
        self._hold = hold
        self._short = short
        self._since = 0
        self.holding = False
        self.most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._edge = self.most - min(RESERVE, self.most // 4)

    def accepted(self) -> None:
        """Another connection is there."""
        self._since += 1
        if self._since >= LOOK_EVERY and not self.holding:
            self._since = 0
            self._look()

    def _look(self) -> None:
        if self._near():
            self.holding = True
            self._short(self.most)
            self._hold(held=True)
            self._clock.callLater(PAUSE, self._look_again)

    def _look_again(self) -> None:
        if self._near():
            self._short(self.most)
            self._clock.callLater(PAUSE, self._look_again)
        else:
            self.holding = False
            self._hold(held=False)

    def _near(self) -> bool:
        """The kernel gives the lowest free number: one near the limit means that nearly all are taken."""
        try:
            descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return True
        os.close(descriptor)
        return descriptor >= self._edge
