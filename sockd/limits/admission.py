"""Admission of peers: the decision on each connection and datagram, and the reason of a refusal."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, partial

from sockd.limits.buckets import Bucket
from sockd.limits.networks import REMEMBERED, AccessList
from sockd.limits.shared_places import SharedPlaces
from sockd.limits.sources import Sources
from sockd.limits.terms import Rate, Terms

LOOK_EVERY = 0.05
"""Seconds between two looks at the places of other processes, which do not tell when they give one back."""


class Admission:
    """Admission of peers, over all listeners of a service.

    A peer is refused with the first reason that applies: its network (`denied`), its source (`penalty`,
    `max_per_source`, `connection_rate_per_source`), a total (`max_connections`, `connection_rate`). For
    datagrams: `denied`, `penalty`, `datagram_rate_per_source`, `datagram_rate`.

    Only an admitted peer uses up places and rates. A refused one takes nothing from the others, and a peer
    that finds the totals full takes nothing from its own share. A full total brings no penalty, as no source
    is the cause of it.

    UNIX peers have no address, and so no source; only the totals count for them.

    Attributes:
        open: places that are taken.
        watched: whether any limit applies to datagrams.

    Args:
        terms: the limits; a number alone is `max_connections`.
        seconds: a monotonic clock.
    """

    __slots__ = (
        "_connections",
        "_datagrams",
        "_guarded",
        "_hosts",
        "_most",
        "_places",
        "_seconds",
        "_source_by_network",
        "_sources",
        "open",
        "terms",
        "watched",
    )

    def __init__(self, terms: Terms | int, seconds: Callable[[], float] = time.monotonic) -> None:
        self.open = 0
        self._seconds = seconds
        # By address, as no change of terms alters it: the same place is given back that was taken.
        self._hosts: dict[str, int] = {}
        self._sources: Sources | None = None
        self._connections: Bucket | None = None
        self._datagrams: Bucket | None = None
        self._places: SharedPlaces | None = None
        self.terms = Terms(0)
        self.change(Terms(terms) if isinstance(terms, int) else terms)

    @property
    def sources(self) -> int:
        """Number of entries that are kept about sources."""
        return 0 if self._sources is None else len(self._sources)

    def change(self, terms: Terms) -> None:
        """Change the limits. Open connections stay, and count under the new limits at once.

        A rate that changes begins with all its tokens. If any limit on sources changes, what sources have
        used
        of their rates is forgotten, and so are penalties.
        """
        old, self.terms = self.terms, terms
        self._most = terms.max_connections
        if terms.connection_rate != old.connection_rate:
            self._connections = _bucket(terms.connection_rate)
        if terms.datagram_rate != old.datagram_rate:
            self._datagrams = _bucket(terms.datagram_rate)
        if _about_sources(terms) != _about_sources(old):
            self._sources = Sources(terms, self._hosts) if any(_about_sources(terms)[:3]) else None
            if self._places is not None:
                self._places.recount({} if self._sources is None else self._sources.share(self._places))
        self._guarded = terms.access is not None or self._sources is not None
        self._source_by_network = lru_cache(REMEMBERED)(
            partial(_source_by_network, terms.access, self._sources)
        )
        self.watched = self._guarded or self._datagrams is not None

    @property
    def shared(self) -> bool:
        """Tell whether places are counted together with other processes."""
        return self._places is not None

    def share(self, places: SharedPlaces) -> None:
        """Count places together with other processes from now on. No connection may be open yet."""
        self._places = places
        if self._sources is not None:
            self._sources.share(places)

    def leave(self) -> None:
        """Count places in this process alone from now on. No connection may be open any more."""
        self._places = None
        if self._sources is not None:
            self._sources.leave()

    def admit(self, host: str | None = None) -> str | None:
        """Take a place for a connection; return None, or why it is refused. `release` gives it back."""
        if self._guarded and host is not None and (reason := self._refuse(host)):
            return reason
        if self.open >= self._most:
            return "max_connections"
        if self._places is not None and (reason := self._take_shared(self._places, host)):
            return reason
        if self._connections is not None and not self._connections.take(self._seconds()):
            if self._places is not None:
                self._places.give(self._source(host))
            return "connection_rate"
        self.open += 1
        if host is not None:
            self._count(host)
        return None

    def identify(self, host: str) -> str | None:
        """Set the address of a place that was taken without one, as behind a proxy; return None, or the
        reason.

        After None the place counts for `host` and is released with it. After a refusal it still has no
        address.
        """
        if self._guarded and (reason := self._refuse(host)):
            return reason
        if (places := self._places) is not None and (source := self._source(host)) is not None:
            most = self.terms.max_per_source
            if most is not None and not places.identify(source, most):
                return "max_per_source"
        self._count(host)
        return None

    def release(self, host: str | None = None) -> None:
        """Give back a place that was taken for this address.

        Raises:
            KeyError: no place was taken for it.
        """
        if host is not None:
            left = self._hosts[host] - 1
            if left:
                self._hosts[host] = left
            else:
                del self._hosts[host]
            if self._sources is not None:
                self._sources.disconnect(self._sources.key(host))
        self.open -= 1
        if self._places is not None:
            self._places.give(self._source(host))

    def admit_datagram(self, host: str | None, now: float) -> str | None:
        """Return None if a datagram that came at `now` may be delivered, or else why not."""
        if self._guarded and host is not None:
            source = self._source_by_network(host)
            if source is None:
                return "denied"
            if self._sources is not None:
                return self._sources.admit_datagram(source, now, self._datagrams)
        if self._datagrams is not None and not self._datagrams.take(now):
            return "datagram_rate"
        return None

    def has_room(self) -> bool:
        """Return whether the totals admit a connection now."""
        return self.open < self._most and not self.seconds_until_room()

    def seconds_until_room(self) -> float:
        """Return the seconds until the rate of all connections has room; 0 where only a release can make
        room.

        Where another process may release a place, these are the seconds until the next look.
        """
        wait = 0.0 if self._connections is None else self._connections.until(self._seconds())
        if self._places is not None and self._places.total >= self._most:
            return max(wait, LOOK_EVERY)
        return wait

    def _take_shared(self, places: SharedPlaces, host: str | None) -> str | None:
        return places.take(self._most, self._source(host), self.terms.max_per_source)

    def _source(self, host: str | None) -> bytes | None:
        """Return the source that a host counts under in all processes."""
        return None if host is None or self._sources is None else self._sources.key(host)

    def _refuse(self, host: str) -> str | None:
        source = self._source_by_network(host)
        if source is None:
            return "denied"
        return None if self._sources is None else self._sources.refuse_connection(source, self._seconds())

    def _count(self, host: str) -> None:
        self._hosts[host] = self._hosts.get(host, 0) + 1
        if self._sources is not None:
            self._sources.connect(self._sources.key(host), self._seconds())


def _source_by_network(access: AccessList | None, sources: Sources | None, host: str) -> bytes | None:
    """Return the source that a host counts under, empty if no limit is on sources; None if its network is
    denied.
    """
    if access is not None and not access.permits(host):
        return None
    return b"" if sources is None else sources.key(host)


def _bucket(rate: Rate | None) -> Bucket | None:
    return Bucket(rate) if rate else None


def _about_sources(terms: Terms) -> tuple[object, ...]:
    """Return the terms that `Sources` applies. Without any of the first three it has nothing to do."""
    return (
        terms.max_per_source,
        terms.connection_rate_per_source,
        terms.datagram_rate_per_source,
        terms.penalty,
        terms.penalty_after,
        terms.source_prefix_ipv4,
        terms.source_prefix_ipv6,
    )
