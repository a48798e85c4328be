"""Memory that all uploads of a service share: data that has arrived and is not on the disk yet.

When memory is short, reading stops for all peers until the disk has taken half of the data, in pieces of any
size.
"""

from __future__ import annotations

from typing import Protocol

from sockd_plugins.files.stream.pool import Pool


class Holder(Protocol):
    """Upload that holds data in memory."""

    def regulate(self) -> None:
        """Pause or resume reading as `Buffers.short` says; while memory is short, write what there is."""


class Buffers:
    """Count of the bytes in memory, which pauses all holders when there are too many.

    Args:
        most: bytes of all holders together; the read that reaches it may exceed it.

    Attributes:
        pool: large buffers, at most a quarter of the memory.
        holders: all that are open.
        short: whether reading has to pause.
    """

    def __init__(self, most: int) -> None:
        self.holders: set[Holder] = set()
        self.short = False
        self.pool = Pool(most // 4)
        self._most = most - self.pool.size
        self._held = 0
        self._busy = 0  # holders that do not wait for their peers, so that they will free their bytes
        self._regulating = False

    def add(self, size: int) -> None:
        """Count bytes that have arrived."""
        self._held += size
        if self._held > self._most and not self.short:
            self.short = True
            self._regulating = True
            self._regulate()
            self._regulating = False
            self._relieve()

    def free(self, size: int) -> None:
        """Count bytes that are written."""
        self._held -= size
        self._relieve()

    def wait(self) -> None:
        """Count a holder that waits for its peer."""
        self._busy -= 1
        self._relieve()

    def go_on(self) -> None:
        """Count a holder that has stopped waiting."""
        self._busy += 1

    def _relieve(self) -> None:
        """Resume all holders if enough is written, or if all of them wait for their peers."""
        if self.short and not self._regulating and (self._held <= self._most // 2 or not self._busy):
            self.short = False
            self._regulate()

    def _regulate(self) -> None:
        for holder in tuple(self.holders):
            holder.regulate()
