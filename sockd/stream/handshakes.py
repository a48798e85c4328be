"""Handshakes of a service's TLS peers: so many at once, so fast, and so much of a turn.

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
    """Peer that has begun to speak TLS."""

    def shake(self) -> None:
        """Begin the handshake, as it is its turn."""


class Handshakes:
    """Unfinished TLS handshakes of one service.

    Args:
        clock: for the turns; its seconds should be monotonic.
        rate: how many may begin in which time; None for any number.

    Attributes:
        unfinished: number of peers that have a place and no session yet.
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
        """Set another rate, for those who wait too."""
        if rate == self._rate:
            return
        self._rate, self._bucket = rate, Bucket(rate) if rate is not None else None
        if self._timer is not None:
            self._timer.cancel()
            self._turn()

    def begin(self) -> None:
        """Count a peer that has yet to say its first."""
        self.unfinished += 1

    def join(self, newcomer: Newcomer) -> None:
        """Let a peer that has said its first begin when it is its turn."""
        self._waiting[newcomer] = None
        if self._timer is None:
            self._turn()

    def end(self, newcomer: Newcomer) -> None:
        """Count a peer no longer that has a session, or will have none."""
        self.unfinished -= 1
        self._waiting.pop(newcomer, None)

    def _turn(self) -> None:
        """Begin one after the other, as far as rate and budget go; the others wait for the next turn."""
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
