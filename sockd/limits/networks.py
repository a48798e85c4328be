"""Networks that are admitted, and networks that are not."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from sockd.config.network_sets import NONE, Networks, packed

REMEMBERED = 1024
"""Peers whose answer is cached: most come again soon, and a look-up takes ten times as long."""


class AccessList:
    """Access list of networks.

    The smallest network that holds a peer decides; one that is both allowed and denied is denied. A peer in
    none of them is permitted if no network is allowed by name.
    """

    __slots__ = ("_allow", "_deny", "_otherwise", "permits")

    permits: Callable[[str], bool]
    """Return whether a peer at this address is permitted. Raises OSError for text that is no address."""

    def __init__(self, allow: Networks = NONE, deny: Networks = NONE) -> None:
        self._allow = allow
        self._deny = deny
        self._otherwise = not allow
        self.permits = lru_cache(REMEMBERED)(self._permits)

    def _permits(self, host: str) -> bool:
        address = packed(host)
        allowed, denied = self._allow.longest(address), self._deny.longest(address)
        return allowed > denied or (allowed == denied == -1 and self._otherwise)
