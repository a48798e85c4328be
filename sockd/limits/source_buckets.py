"""Token buckets of sources: one for each as far as there is room, shared ones for the others."""

from __future__ import annotations

from sockd.limits.buckets import Tokens
from sockd.limits.expiring import CAPACITY, Expiring
from sockd.limits.terms import Rate

SHARED = 256
"""Buckets for sources without room for their own: few enough to bound a flood of them together."""


class SourceBuckets:
    """Token buckets of one rate, by source."""

    __slots__ = ("_furthest", "_known", "_moments", "_shared", "_token", "_tokens")

    def __init__(self, rate: Rate, capacity: int = CAPACITY) -> None:
        self._tokens = Tokens(rate)
        self._token, self._furthest = self._tokens.token, self._tokens.furthest
        self._known = Expiring(capacity)
        self._moments = self._known.moments
        self._shared = [0.0] * SHARED

    def __len__(self) -> int:
        return len(self._moments)

    def after(self, key: bytes, now: float) -> float | None:
        """Return the state after this source has taken one token, for `keep`; None if there is none."""
        full_at = self._moments.get(key)
        if full_at is None:
            full_at = self._shared[hash(key) % SHARED]
        return self._tokens.after(full_at, now)

    def keep(self, key: bytes, full_at: float, now: float) -> None:
        """Store the state after a token was taken."""
        if not self._known.set(key, full_at, now):
            self._shared[hash(key) % SHARED] = full_at

    def take(self, key: bytes, now: float) -> bool:
        """Take a token of this source; return False if there is none."""
        full_at = self._moments.get(key)
        if full_at is None:
            return self._take_first(key, now)
        if full_at < now:  # inlines `after`, as this runs for each datagram
            full_at = now
        if full_at - now > self._furthest:
            return False
        self._moments[key] = full_at + self._token
        return True

    def _take_first(self, key: bytes, now: float) -> bool:
        """Take a token of a source that is not known, or that has no room for its own bucket."""
        full_at = self.after(key, now)
        if full_at is None:
            return False
        self.keep(key, full_at, now)
        return True

    def give_back(self, key: bytes) -> None:
        """Give back the token that was taken last."""
        if key in self._moments:
            self._moments[key] -= self._token
        else:
            self._shared[hash(key) % SHARED] -= self._token
