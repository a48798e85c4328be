"""Penalties: sources that keep trying are refused for a while."""

from __future__ import annotations

from dataclasses import dataclass

from sockd.limits.buckets import Tokens
from sockd.limits.expiring import CAPACITY, Expiring

PENALTY_WINDOW = 10.0
"""Seconds after which `Terms.penalty_after` refusals are forgiven."""


@dataclass(frozen=True, slots=True)
class _Forgiven:
    """Rate of refusals that bring no penalty."""

    count: int
    seconds: float = PENALTY_WINDOW


class Penalties:
    """Penalties of sources that kept trying, each with its end.

    Refusals take tokens from a bucket that holds `penalty_after` and fills within `PENALTY_WINDOW`. A
    refusal without a token brings the penalty. Its end is set when it begins: refusals during a penalty do
    not count.

    Attributes:
        end: returns the moment at which the penalty of a source ends, or else the given default; called for
            each datagram.
    """

    __slots__ = ("_ends", "_forgiven", "_refusals", "_seconds", "end")

    def __init__(self, seconds: float, after: int, capacity: int = CAPACITY) -> None:
        self._seconds = seconds
        self._forgiven = Tokens(_Forgiven(after))
        self._refusals = Expiring(capacity)
        self._ends = Expiring(capacity)
        self.end = self._ends.moments.get

    def __len__(self) -> int:
        return len(self._refusals) + len(self._ends)

    def refused(self, key: bytes, now: float) -> None:
        """Count a refusal that a source has caused itself."""
        full_at = self._forgiven.after(self._refusals.moments.get(key, 0.0), now)
        if full_at is None:
            self._ends.set(key, now + self._seconds, now)
        else:
            self._refusals.set(key, full_at, now)
