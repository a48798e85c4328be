"""Rates of those who ask without being in a room, by their addresses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.token_bucket import TokenBucket

MOST_SOURCES = 10_000
"""Addresses that are remembered; of more, the one that was silent longest is forgotten."""


class Sources:
    """Rates by address.

    Args:
        rate: requests a second.
        burst: requests at once.
        seconds: a monotonic clock.
    """

    def __init__(self, rate: float, burst: int, seconds: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._seconds = seconds
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def check(self, host: str) -> None:
        """Count a request; raise `ChatRefused` if there are too many."""
        bucket = self._buckets.get(host)
        if bucket is None:
            bucket = self._buckets[host] = TokenBucket(self._rate, self._burst, self._seconds)
            if len(self._buckets) > MOST_SOURCES:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(host)
        if not bucket.take():
            raise ChatRefused("too_fast", f"too fast: what goes beyond {self._rate:g} a second is refused")
