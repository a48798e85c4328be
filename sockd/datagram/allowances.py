"""Bytes that may still be sent to each peer of a datagram port, after its datagram was delivered."""

from __future__ import annotations

from collections.abc import Callable

from sockd.datagram.wire import Address, Route

MAX_OWED = 65_536
"""Peers whose unused allowance is kept for a later reply. Beyond that new peers get none, so that forged
sources cannot push out those that are there."""

_NOTHING: tuple[int, Route] = 0, b""
_NOBODY: tuple[int, Route] = -1, b""


class Allowances:
    """Bytes that may be sent to each peer, in two halves; the older half is dropped in time.

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
        self._newer: dict[Address, tuple[int, Route]] = {}
        self._older: dict[Address, tuple[int, Route]] = {}
        self._turned = seconds()

    def grant(
        self, peer: Address, size: int, most: int, route: Route = b"", now: float | None = None
    ) -> None:
        """Let `size` more bytes be sent to `peer`, `most` at most in all, by way of `route`.

        Args:
            peer: the address.
            size: bytes.
            most: bytes that may be owed at once.
            route: of the answers.
            now: time of the clock, if it is known.
        """
        if now is None or now - self._turned >= self._kept_for:
            self._turn()
        newer = self._newer
        if peer in newer:
            newer[peer] = min(newer[peer][0] + size, most), route
            return
        held, _ = self._older.pop(peer, _NOTHING)
        if held or len(newer) < self._capacity:
            newer[peer] = min(held + size, most), route

    def spend(self, peer: Address, size: int) -> Route | None:
        """Spend `size` bytes of a peer's allowance; return its route, None if it may not be sent."""
        self._turn()
        half = self._newer if peer in self._newer else self._older
        held, route = half.get(peer, _NOBODY)
        if held < size:
            return None
        half[peer] = held - size, route
        return route

    def _turn(self) -> None:
        now = self._seconds()
        if now - self._turned >= self._kept_for:
            fresh = now - self._turned < 2 * self._kept_for
            self._older = self._newer if fresh else {}
            self._newer = {}
            self._turned = now
