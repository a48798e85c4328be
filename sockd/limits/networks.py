"""Networks that may come in and networks that may not."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from sockd.config.network_sets import NONE, Networks, packed

REMEMBERED = 1024
"""Peers for which an answer is kept: most come again soon, and to work it out takes ten times as long."""


class AccessList:
    """Who may come in at all.

    The smallest network that a peer is in decides; one that is both allowed and denied is denied. A peer
    that is in none may come in if no network is allowed by name.
    """

    __slots__ = ("_allow", "_deny", "_otherwise", "permits")

    permits: Callable[[str], bool]
    """Whether a peer at this address may come in. Raises OSError for what is no address."""

    def __init__(self, allow: Networks = NONE, deny: Networks = NONE) -> None:
        self._allow = allow
        self._deny = deny
        self._otherwise = not allow
        self.permits = lru_cache(REMEMBERED)(self._permits)

    def _permits(self, host: str) -> bool:
        address = packed(host)
        allowed, denied = self._allow.longest(address), self._deny.longest(address)
        return allowed > denied or (allowed == denied == -1 and self._otherwise)
