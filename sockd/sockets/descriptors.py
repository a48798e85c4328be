"""Reserve of file descriptors: accepting pauses before the last ones are used, which other code needs."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from sockd.config.budget import kept

A_TURN = 50
"""Connections that a port accepts in one turn, so that open connections are served in between."""

PAUSE = 0.1
"""Seconds of a pause of accepting."""

_OPEN = "/proc/self/fd"


class Hold(Protocol):
    """Callable that pauses and resumes accepting."""

    def __call__(self, *, held: bool) -> None:
        """Pause accepting if `held`, else resume it."""


class Descriptors:
    """Limit of accepting by the file descriptors that are left.

    Args:
        clock: times the pauses.
        hold: called with whether accepting has to pause.
        short: called with the limit of descriptors at each check that finds too few.
        relieve: called then too, to close connections that can be spared.
    """

    __slots__ = ("_clock", "_edge", "_granted", "_hold", "_relieve", "_short", "holding", "most")

    def __init__(
        self, clock: IReactorTime, hold: Hold, short: Callable[[int], None], relieve: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._hold = hold
        self._short = short
        self._relieve = relieve
        self._granted = 0  # connections that may be accepted before the next count
        self.holding = False
        self.most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._edge = self.most - kept(self.most)

    def grant(self, wanted: int) -> int:
        """Return how many of `wanted` connections may be accepted now. At 0 accepting pauses."""
        wanted = min(wanted, A_TURN)
        if self._granted < wanted:
            # Half of what is free: counting has a cost, and other code opens descriptors too.
            self._granted = (self._room() + 1) // 2
        granted = max(0, min(wanted, self._granted))
        self._granted -= granted
        if not granted and not self.holding:
            self.holding = True
            self._hold(held=True)
            self._say_short()
        return granted

    def _say_short(self) -> None:
        self._short(self.most)
        self._relieve()
        self._clock.callLater(PAUSE, self._look_again)

    def _look_again(self) -> None:
        if self._room() > 0:
            self.holding = False
            self._hold(held=False)
        else:
            self._say_short()

    def _room(self) -> int:
        """Return the number of free descriptors before the reserve."""
        return self._edge - used()


def used() -> int:
    """Return the number of open descriptors."""
    return os.stat(_OPEN).st_size or len(os.listdir(_OPEN))  # Linux before 6.2 does not count them itself
