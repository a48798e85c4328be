"""Sources that keep trying are refused for a while."""

from __future__ import annotations

from dataclasses import dataclass

from sockd.limits.buckets import Tokens
from sockd.limits.fading import CAPACITY, Fading

PENALTY_WINDOW = 10.0
"""Seconds in which `Terms.penalty_after` refusals are forgiven, and forgotten."""


@dataclass(frozen=True, slots=True)
class _Forgiven:
    """The rate of refusals that bring no penalty."""

    count: int
    seconds: float = PENALTY_WINDOW


class Penalties:
    """Sources that kept trying, and until when they are refused for it.

    Refusals are taken from a bucket that holds `penalty_after` and fills within `PENALTY_WINDOW`; one
    for which there is nothing left brings the penalty. Its end is set when it begins: what is refused
    under it does not count.

    Attributes:
        end: when the penalty of a source ends, or else what is given; asked for each datagram.
    """

    __slots__ = ("_ends", "_forgiven", "_refusals", "_seconds", "end")

    def __init__(self, seconds: float, after: int, capacity: int = CAPACITY) -> None:
        self._seconds = seconds
        self._forgiven = Tokens(_Forgiven(after))
        self._refusals = Fading(capacity)
        self._ends = Fading(capacity)
        self.end = self._ends.moments.get

    def __len__(self) -> int:
        return len(self._refusals) + len(self._ends)

    def refused(self, key: bytes, now: float) -> None:
        """It was refused for what it did itself."""
        full_at = self._forgiven.after(self._refusals.moments.get(key, 0.0), now)
        if full_at is None:
            self._ends.set(key, now + self._seconds, now)
        else:
            self._refusals.set(key, full_at, now)
