"""Bound on the output that all peers of a process together leave unread."""

from __future__ import annotations

from typing import Protocol

RELIEF = 0.9
"""Part of the bound that is left once connections had to be aborted for it: not each single write after that
shall look for the next one."""


class Writer(Protocol):
    """Writing side of a connection, as the bound sees it."""

    def unsent(self) -> int:
        """Return the bytes that wait for the peer."""

    def cut(self, reason: str) -> None:
        """Abort the connection."""


class Unread:
    """Unread output of all connections of a process, bounded as a whole.

    Args:
        most: bytes.
    """

    __slots__ = ("_held", "_most", "_total")

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Writer, int] = {}
        self._total = 0

    def change(self, most: int) -> None:
        """Set another bound, in bytes; it is looked at when output is next noted."""
        self._most = most

    def note(self, writer: Writer, size: int) -> None:
        """Note the bytes that wait for the peer of one connection."""
        self._total += size - self._held.get(writer, 0)
        self._held[writer] = size
        if self._total > self._most:
            self._relieve()

    def forget(self, writer: Writer) -> None:
        """Forget a connection for whose peer nothing waits any more."""
        self._total -= self._held.pop(writer, 0)

    def _relieve(self) -> None:
        """Abort those that leave most unread, if peers have not taken enough since it was noted."""
        self._held = {writer: writer.unsent() for writer in self._held}
        self._total = sum(self._held.values())
        if self._total <= self._most:
            return
        for writer in sorted(self._held, key=self._held.__getitem__, reverse=True):
            if self._total <= self._most * RELIEF:
                break
            self.forget(writer)
            writer.cut("unread output of all")
