"""State of each source: its open connections, its rates, its penalty.

Addresses cost an attacker nothing, so every table is bounded. A full table behaves as follows:

- Open connections are counted for each source that has any: no more sources than connections.
- A rate has a bucket for each of 65,536 sources, and drops one that is full, as it has no meaning any more.
  While
  there is no room, all other sources share 256 buckets of the same rate, by a secret hash. So the limit
  holds for each of them, known sources keep their buckets, and new ones are admitted slowly until some
  buckets are dropped: after the seconds of the rate at the latest, once a flood ends. Tokens that a source
  took from a shared bucket count when it gets its own.
- Datagrams have a table of their own: forged ones take nothing from connections, whose sources are real.
- Refusals and penalties are kept for 65,536 sources each. While there is no room, another source gets no
  penalty; its limits hold all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from sockd.config.network_sets import packed
from sockd.limits.buckets import Bucket
from sockd.limits.expiring import CAPACITY
from sockd.limits.networks import REMEMBERED
from sockd.limits.penalties import Penalties
from sockd.limits.shared_places import SharedPlaces
from sockd.limits.source_buckets import SourceBuckets
from sockd.limits.terms import Rate, Terms


def source_key(host: str, v4_prefix: int = 32, v6_prefix: int = 64) -> bytes:
    """Return the source that a peer counts under: the first address of its network, in 4 or 16 bytes.

    Bytes, not a number: their hash is secret, so that nobody can choose addresses that collide.
    """
    address = packed(host)
    bits = 8 * len(address)
    beyond = bits - (v4_prefix if bits == 32 else v6_prefix)
    if not beyond:
        return address
    return (int.from_bytes(address) >> beyond << beyond).to_bytes(len(address))


class Sources:
    """Limits on each source. Its terms do not change; other terms need another instance.

    Args:
        terms: the terms, of which those on sources apply here.
        hosts: open connections, by the peer's address.
        capacity: sources that each table has room for.
    """

    __slots__ = ("_connections", "_datagrams", "_most", "_open", "_penalties", "_places", "key")

    key: Callable[[str], bytes]
    """Return the source that a peer counts under."""

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
        self._places: SharedPlaces | None = None
        for host, count in hosts.items():
            self._add(self.key(host), count)

    def __len__(self) -> int:
        """Return the number of entries in all tables."""
        tables = self._open, self._connections, self._datagrams, self._penalties
        return sum(len(table) for table in tables if table is not None)

    def share(self, places: SharedPlaces) -> Mapping[bytes, int]:
        """Count connections of other processes too; return those of this one, if they are limited."""
        self._places = places
        return {} if self._most is None else self._open

    def leave(self) -> None:
        """Count connections of this process alone."""
        self._places = None

    def refuse_connection(self, key: bytes, now: float) -> str | None:
        """Return the reason to refuse a connection of this source, and count it; None to admit it."""
        if self._penalties is not None and self._penalties.end(key, 0.0) > now:
            return "penalty"
        if self._most is not None and self._connections_of(key) >= self._most:
            reason = "max_per_source"
        elif self._connections is not None and self._connections.after(key, now) is None:
            reason = "connection_rate_per_source"
        else:
            return None
        if self._penalties is not None:
            self._penalties.refused(key, now)
        return reason

    def connect(self, key: bytes, now: float) -> None:
        """Count a connection that was admitted."""
        self._add(key, 1)
        if self._connections is not None and (full_at := self._connections.after(key, now)) is not None:
            self._connections.keep(key, full_at, now)

    def disconnect(self, key: bytes) -> None:
        """Count a connection that has ended."""
        left = self._open[key] - 1
        if left:
            self._open[key] = left
        else:
            del self._open[key]

    def admit_datagram(self, key: bytes, now: float, total: Bucket | None) -> str | None:
        """Return None if a datagram may be delivered by the limits on its source and in total, or else the
        reason.

        A refusal brings no penalty: anybody can forge datagrams in the name of another source.
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

    def _connections_of(self, key: bytes) -> int:
        """Return the number of open connections of a source."""
        return self._open.get(key, 0) if self._places is None else self._places.count(key)

    def _add(self, key: bytes, count: int) -> None:
        self._open[key] = self._open.get(key, 0) + count
