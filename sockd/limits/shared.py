"""A bucket for each source, as far as there is room, and shared ones for the others."""

from __future__ import annotations

from sockd.limits.buckets import Tokens
from sockd.limits.fading import CAPACITY, Fading
from sockd.limits.terms import Rate

SHARED = 256
"""Buckets for sources that there is no room for: few enough to hold a flood down together."""


class SourceBuckets:
    """A bucket of one rate for each source."""

    __slots__ = ("_known", "_shared", "_tokens")

    def __init__(self, rate: Rate, capacity: int = CAPACITY) -> None:
        self._tokens = Tokens(rate)
        self._known = Fading(capacity)
        self._shared = [0.0] * SHARED

    def __len__(self) -> int:
        return len(self._known)

    def after(self, key: bytes, now: float) -> float | None:
        """The state after this source has taken one token, for `keep`; None if there is none."""
        full_at = self._known.get(key)
        if full_at is None:
            full_at = self._shared[hash(key) % SHARED]
        return self._tokens.after(full_at, now)

    def keep(self, key: bytes, full_at: float, now: float) -> None:
        """The token is taken."""
        if not self._known.set(key, full_at, now):
            self._shared[hash(key) % SHARED] = full_at
