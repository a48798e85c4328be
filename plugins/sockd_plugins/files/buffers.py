"""Memory that all uploads of a service share: data that has arrived and is not on the disk yet.

When it becomes short, no peer is read from until the disk has taken half of the data, in pieces of whatever
size there are.
"""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    """An upload that holds data in memory."""

    def regulate(self) -> None:
        """Read or pause as `Buffers.short` says; while it is short, hand over whatever is there."""


class Buffers:
    """A count of the bytes in memory, which pauses all holders when there are too many.

    Args:
        most: bytes that all holders may have together; the read that reaches it comes on top.

    Attributes:
        holders: all that are open.
        short: whether no more must come in.
    """

    def __init__(self, most: int) -> None:
        self.holders: set[Holder] = set()
        self.short = False
        self._most = most
        self._held = 0
        self._busy = 0  # holders that do not wait for their peers, and so will free what they have
        self._regulating = False

    def add(self, size: int) -> None:
        """Count bytes that have come."""
        self._held += size
        if self._held > self._most and not self.short:
            self.short = True
            self._regulating = True
            self._regulate()
            self._regulating = False
            self._relieve()

    def free(self, size: int) -> None:
        """Count bytes that are gone."""
        self._held -= size
        self._relieve()

    def wait(self) -> None:
        """Count a holder that waits for its peer."""
        self._busy -= 1
        self._relieve()

    def go_on(self) -> None:
        """Count a holder that waits no longer."""
        self._busy += 1

    def _relieve(self) -> None:
        """Let everybody read again, if enough is gone, or if only the peers can bring anything on."""
        if self.short and not self._regulating and (self._held <= self._most // 2 or not self._busy):
            self.short = False
            self._regulate()

    def _regulate(self) -> None:
        for holder in tuple(self.holders):
            holder.regulate()
