"""Token buckets: a rate of `count` in `seconds`, of which `count` may come at once."""

from __future__ import annotations

from sockd.limits.terms import Rate

SLACK = 0.01
"""Tokens. Rounding errors stay below this part of a token, and must not cost a whole one."""


class Tokens:
    """Arithmetic of a token bucket. Its state is one number: the moment at which it is full again, at first
    0.

    This is the generic cell rate algorithm (ITU-T I.371): no timer runs, and reading changes nothing.
    Moments are seconds of a monotonic clock.
    """

    __slots__ = ("_filling", "_slack", "furthest", "token")

    token: float
    """Seconds in which one token comes."""

    furthest: float
    """Seconds until the bucket is full again, at most, while it still holds one token."""

    def __init__(self, rate: Rate) -> None:
        self._filling = rate.seconds  # of an empty bucket
        self.token = rate.seconds / rate.count
        self._slack = self.token * SLACK
        self.furthest = self._filling - self.token + self._slack

    def after(self, full_at: float, now: float) -> float | None:
        """Return the state after one token is taken; None if there is none."""
        full_at = max(full_at, now)
        return full_at + self.token if full_at - now <= self.furthest else None

    def spend(self, full_at: float, now: float, cost: float) -> float:
        """Return the state after `cost` tokens are taken, even if there are fewer."""
        return max(full_at, now) + cost * self.token

    def until(self, full_at: float, now: float, cost: float = 1) -> float:
        """Return the seconds until there are `cost` tokens, or the bucket is full if it holds fewer."""
        wait = full_at - now + min(cost * self.token - self._filling, 0.0)
        return wait if wait > self._slack else 0.0


class Bucket:
    """Token bucket for all connections of a service, or for the bytes of one connection."""

    __slots__ = ("_full_at", "_furthest", "_token", "_tokens")

    def __init__(self, rate: Rate) -> None:
        self._tokens = Tokens(rate)
        self._token, self._furthest = self._tokens.token, self._tokens.furthest
        self._full_at = 0.0

    def take(self, now: float) -> bool:
        """Take one token; return False if there is none."""
        full_at = self._full_at  # inlines `after`, as this runs for each datagram
        if full_at < now:
            full_at = now
        if full_at - now > self._furthest:
            return False
        self._full_at = full_at + self._token
        return True

    def spend(self, now: float, cost: float) -> None:
        """Take `cost` tokens even if there are fewer: bytes that have come cannot be sent back."""
        self._full_at = self._tokens.spend(self._full_at, now, cost)

    def until(self, now: float, cost: float = 1) -> float:
        """Return the seconds until there are `cost` tokens, or the bucket is full if it holds fewer."""
        return self._tokens.until(self._full_at, now, cost)
