"""What may still be sent to each peer of a datagram port, after its datagram was delivered."""

from __future__ import annotations

from collections.abc import Callable

from sockd.datagram.wire import Address

MAX_OWED = 65_536
"""Peers whose unused allowance is kept for a later reply. When it is full new ones get none, so that
forged sources cannot push out those that are there."""


class Allowances:
    """What may still be sent to each peer: kept in two halves, the older of which is let go in time.

    Args:
        seconds: a monotonic clock.
        kept_for: seconds for which at least, and at most twice, an allowance is kept.
        capacity: peers that are kept in each half.
    """

    __slots__ = ("_capacity", "_kept_for", "_newer", "_older", "_seconds", "_turned")

    def __init__(self, seconds: Callable[[], float], kept_for: float, capacity: int = MAX_OWED) -> None:
        self._seconds = seconds
        self._kept_for = kept_for
        self._capacity = capacity
        self._newer: dict[Address, int] = {}
        self._older: dict[Address, int] = {}
        self._turned = seconds()

    def grant(self, peer: Address, size: int, most: int) -> None:
        """Let `size` more bytes be sent to `peer`, `most` at most in all."""
        self._turn()
        held = self._newer.pop(peer, None)
        if held is None:
            held = self._older.pop(peer, 0)
        if held or len(self._newer) < self._capacity:
            self._newer[peer] = min(held + size, most)

    def spend(self, peer: Address, size: int) -> bool:
        """Whether `size` bytes may be sent to `peer`; if so they are spent."""
        self._turn()
        half = self._newer if peer in self._newer else self._older
        held = half.get(peer, -1)
        if held < size:
            return False
        half[peer] = held - size
        return True

    def _turn(self) -> None:
        now = self._seconds()
        if now - self._turned >= self._kept_for:
            fresh = now - self._turned < 2 * self._kept_for
            self._older = self._newer if fresh else {}
            self._newer = {}
            self._turned = now
