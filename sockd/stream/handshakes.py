"""When the TLS handshakes of a service begin: so many at once, so fast, and so much of a turn.

A handshake takes the server a hundred times as long as a message. What a peer says first waits for its turn,
so that a crowd of newcomers does not hold up those who are there; until then it costs a place and no more.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sockd.limits.buckets import Bucket
from sockd.limits.terms import Rate

BUDGET = 0.002
"""Seconds of a turn of the reactor; the rest waits for the next."""


class Newcomer(Protocol):
    """A peer that has begun to speak TLS."""

    def shake(self) -> None:
        """It is its turn."""


class Handshakes:
    """Those of one service.

    Args:
        clock: for the turns; its seconds should be monotonic.
        rate: how many may begin in which time; None for any number.

    Attributes:
        unfinished: how many peers have a place and no session yet.
    """

    __slots__ = ("_bucket", "_clock", "_rate", "_timer", "_waiting", "unfinished")

    def __init__(self, clock: IReactorTime, rate: Rate | None) -> None:
        self.unfinished = 0
        self._clock = clock
        self._rate: Rate | None = None
        self._bucket: Bucket | None = None
        self._waiting: dict[Newcomer, None] = {}
        self._timer: IDelayedCall | None = None
        self.change(rate)

    def change(self, rate: Rate | None) -> None:
        """Another rate holds from now on, for those who wait too."""
        if rate == self._rate:
            return
        self._rate, self._bucket = rate, Bucket(rate) if rate is not None else None
        if self._timer is not None:
            self._timer.cancel()
            self._turn()

    def join(self, newcomer: Newcomer) -> None:
        """Let it begin when it is its turn."""
        self._waiting[newcomer] = None
        if self._timer is None:
            self._turn()

    def forget(self, newcomer: Newcomer) -> None:
        """It does not wait any more."""
        self._waiting.pop(newcomer, None)

    def _turn(self) -> None:
        """One after the other, as far as rate and budget go; who comes later waits for the next turn."""
        self._timer = None
        if not self._waiting:
            return
        until = self._clock.seconds() + BUDGET
        wait = 0.0
        try:
            while self._waiting and (now := self._clock.seconds()) < until:
                if self._bucket is not None and not self._bucket.take(now):
                    wait = self._bucket.until(now)
                    break
                newcomer = next(iter(self._waiting))
                del self._waiting[newcomer]
                newcomer.shake()
        finally:
            self._timer = self._clock.callLater(wait, self._turn)
