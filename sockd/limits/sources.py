"""What is known of the sources of peers: how much each has open, how fast it comes, whether it is refused.

Addresses cost an attacker nothing, so every table is bounded, and what happens when one is full is stated:

- Open connections are counted for each source that has any: no more sources than connections.
- A rate keeps a bucket for each of 65,536 sources, until it is full again, and then it says nothing. While
  there is no room, all other sources share 256 buckets of the same rate, by a hash that nobody outside knows.
  So the limit holds for every one of them, those that are known keep what they have, and new ones come in
  slowly, until some are forgotten: after the rate's own seconds at the latest, once a flood ends. What a
  source took from a shared bucket counts when it gets its own.
- Datagrams have a table of their own: forged ones take nothing from connections, whose sources are real.
- Refusals and penalties are kept for 65,536 sources each. While there is no room, another source is not
  penalised; its limits hold all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from sockd.config.network_sets import packed
from sockd.limits.buckets import Bucket
from sockd.limits.fading import CAPACITY
from sockd.limits.networks import REMEMBERED
from sockd.limits.penalties import Penalties
from sockd.limits.shared import SourceBuckets
from sockd.limits.terms import Rate, Terms
from sockd.limits.together import Together


def source_key(host: str, v4_prefix: int = 32, v6_prefix: int = 64) -> bytes:
    """The source that a peer counts under: its network's first address, in 4 or 16 bytes.

    Bytes, not a number: their hash is secret, so that nobody can choose addresses that collide.
    """
    address = packed(host)
    bits = 8 * len(address)
    beyond = bits - (v4_prefix if bits == 32 else v6_prefix)
    if not beyond:
        return address
    return (int.from_bytes(address) >> beyond << beyond).to_bytes(len(address))


class Sources:
    """The limits of each source. Its terms do not change; with other terms there is another one.

    Args:
        terms: of which those for sources count here.
        hosts: connections that are open, by the peer's address.
        capacity: sources that each table has room for.
    """

    __slots__ = ("_connections", "_datagrams", "_most", "_open", "_penalties", "_together", "key")

    key: Callable[[str], bytes]
    """The source that a peer counts under."""

    def __init__(self, terms: Terms, hosts: Mapping[str, int], capacity: int = CAPACITY) -> None:
        def buckets(rate: Rate | None) -> SourceBuckets | None:
            return SourceBuckets(rate, capacity) if rate else None

        prefixes = terms.source_prefix_ipv4, terms.source_prefix_ipv6
        self.key = lru_cache(REMEMBERED)(lambda host: source_key(host, *prefixes))
        self._most = terms.max_per_source
        self._connections = buckets(terms.connection_rate_per_source)
        self._datagrams = buckets(terms.datagram_rate_per_source)
        self._penalties = Penalties(terms.penalty, terms.penalty_after, capacity) if terms.penalty else None
        self._open: dict[bytes, int] = {}
        self._together: Together | None = None
        for host, count in hosts.items():
            self._hold(self.key(host), count)

    def __len__(self) -> int:
        """How much is kept, in entries of all tables."""
        tables = self._open, self._connections, self._datagrams, self._penalties
        return sum(len(table) for table in tables if table is not None)

    def share(self, together: Together) -> Mapping[bytes, int]:
        """Judge by what is open in other processes too; returns what is here, where that is limited."""
        self._together = together
        return {} if self._most is None else self._open

    def leave(self) -> None:
        """Judge by what is open here alone."""
        self._together = None

    def refuse_connection(self, key: bytes, now: float) -> str | None:
        """Why a connection of this source may not come in, which is held against it; None if it may."""
        if self._penalties is not None and self._penalties.end(key, 0.0) > now:
            return "penalty"
        if self._most is not None and self._held(key) >= self._most:
            reason = "max_per_source"
        elif self._connections is not None and self._connections.after(key, now) is None:
            reason = "connection_rate_per_source"
        else:
            return None
        if self._penalties is not None:
            self._penalties.refused(key, now)
        return reason

    def connect(self, key: bytes, now: float) -> None:
        """A connection of this source has come in."""
        self._hold(key, 1)
        if self._connections is not None and (full_at := self._connections.after(key, now)) is not None:
            self._connections.keep(key, full_at, now)

    def disconnect(self, key: bytes) -> None:
        """One is gone."""
        left = self._open[key] - 1
        if left:
            self._open[key] = left
        else:
            del self._open[key]

    def admit_datagram(self, key: bytes, now: float, total: Bucket | None) -> str | None:
        """Whether a datagram may be delivered, as far as its source and the total go: None, or why not.

        Its source is not held to account: anybody can forge datagrams in the name of another.
        """
        if self._penalties is not None and self._penalties.end(key, 0.0) > now:
            return "penalty"
        if self._datagrams is not None and not self._datagrams.take(key, now):
            return "datagram_rate_per_source"
        if total is not None and not total.take(now):
            if self._datagrams is not None:
                self._datagrams.give_back(key)
            return "datagram_rate"
        return None

    def _held(self, key: bytes) -> int:
        """How many connections of a source are open."""
        return self._open.get(key, 0) if self._together is None else self._together.held(key)

    def _hold(self, key: bytes, count: int) -> None:
        self._open[key] = self._open.get(key, 0) + count
