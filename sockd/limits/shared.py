"""A bucket for each source, as far as there is room, and shared ones for the others."""

from __future__ import annotations

from sockd.limits.buckets import Tokens
from sockd.limits.fading import CAPACITY, Fading
from sockd.limits.terms import Rate

SHARED = 256
"""Buckets for sources that there is no room for: few enough to hold a flood down together."""


class SourceBuckets:
    """A bucket of one rate for each source."""

    __slots__ = ("_furthest", "_known", "_moments", "_shared", "_token", "_tokens")

    def __init__(self, rate: Rate, capacity: int = CAPACITY) -> None:
        self._tokens = Tokens(rate)
        self._token, self._furthest = self._tokens.token, self._tokens.furthest
        self._known = Fading(capacity)
        self._moments = self._known.moments
        self._shared = [0.0] * SHARED

    def __len__(self) -> int:
        return len(self._moments)

    def after(self, key: bytes, now: float) -> float | None:
        """The state after this source has taken one token, for `keep`; None if there is none."""
        full_at = self._moments.get(key)
        if full_at is None:
            full_at = self._shared[hash(key) % SHARED]
        return self._tokens.after(full_at, now)

    def keep(self, key: bytes, full_at: float, now: float) -> None:
        """The token is taken."""
        if not self._known.set(key, full_at, now):
            self._shared[hash(key) % SHARED] = full_at

    def take(self, key: bytes, now: float) -> bool:
        """Take a token of this source; False if there is none."""
        full_at = self._moments.get(key)
        if full_at is None:
            return self._take_first(key, now)
        if full_at < now:  # as `after` has it, but for no call: this is asked for each datagram
            full_at = now
        if full_at - now > self._furthest:
            return False
        self._moments[key] = full_at + self._token
        return True

    def _take_first(self, key: bytes, now: float) -> bool:
        """Of a source that is not known, or that there is no room for."""
        full_at = self.after(key, now)
        if full_at is None:
            return False
        self.keep(key, full_at, now)
        return True

    def give_back(self, key: bytes) -> None:
        """The token that was taken last."""
        if key in self._moments:
            self._moments[key] -= self._token
        else:
            self._shared[hash(key) % SHARED] -= self._token
