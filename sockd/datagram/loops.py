"""Ends a loop of two servers that answer each other for ever (CVE-2024-2169).

One forged datagram starts it. In such a loop every request repeats the answer before it; of a client that
happens to do the same, one datagram in a thousand is lost, which UDP may do at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LOOK_EVERY = 13
"""Answers of which one is looked at: to look costs a twentieth of an answer. A prime, lest peers that take
turns escape."""

MOST_REPEATS = 80
"""Looks in a row that found the answer sent back, in a thousand answers; then one datagram is dropped, which
ends a loop."""

SOON = 5.0
"""Seconds within which the next look finds a loop. A client that asks less often than that is never hit."""

MOST_PEERS = 4096
"""Peers that are watched at once. When there are more all are forgotten: a loop is soon among them again."""


class Loops:
    """Counts how often each peer sends back what it was sent.

    Args:
        seconds: a monotonic clock.
    """

    __slots__ = ("_peers", "_seconds")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._peers: dict[Any, tuple[int, float, int]] = {}  # what was sent, when, repeats

    def is_one(self, peer: Any, datagram: bytes) -> bool:
        """Whether an answer that equals its request goes on with a loop; it must not be sent then."""
        now, content = self._seconds(), hash(datagram)
        before, sent_at, repeats = self._peers.get(peer, (0, 0.0, 0))
        repeats = repeats + 1 if content == before and now - sent_at < SOON else 0
        if repeats >= MOST_REPEATS:
            del self._peers[peer]
            return True
        if len(self._peers) >= MOST_PEERS and peer not in self._peers:
            self._peers.clear()
        self._peers[peer] = content, now, repeats
        return False
