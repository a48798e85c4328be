"""Admission: the one question whether a peer may come in, and why not."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, partial

from sockd.limits.buckets import Bucket
from sockd.limits.networks import REMEMBERED, AccessList
from sockd.limits.sources import Sources
from sockd.limits.terms import Rate, Terms
from sockd.limits.together import Together

LOOK_EVERY = 0.05
"""Seconds between two looks whether another process has given a place back, of which it tells nobody."""


class Admission:
    """Who may come in now, over all listeners of a service.

    The first of these that a peer fails is the reason for its refusal: the networks (`denied`), what its
    source does (`penalty`, `max_per_source`, `connection_rate_per_source`), the totals (`max_connections`,
    `connection_rate`). For datagrams: `denied`, `penalty`, `datagram_rate_per_source`, `datagram_rate`.
    Only who comes in uses up anything: a refused peer takes nothing from the others, and one that finds the
    totals full takes nothing from its own share. Totals being full is nobody's fault and brings no penalty.

    UNIX peers have no address, and so no source; the totals alone count for them.

    Attributes:
        watched: whether datagrams are judged at all.

    Args:
        terms: the limits; a number alone is `max_connections`.
        seconds: a monotonic clock.
    """

    __slots__ = (
        "_connections",
        "_datagrams",
        "_guarded",
        "_hosts",
        "_let_in",
        "_most",
        "_seconds",
        "_sources",
        "_together",
        "open",
        "terms",
        "watched",
    )

    def __init__(self, terms: Terms | int, seconds: Callable[[], float] = time.monotonic) -> None:
        self.open = 0
        self._seconds = seconds
        # By address, which no change of terms alters: what is given back is what was taken.
        self._hosts: dict[str, int] = {}
        self._sources: Sources | None = None
        self._connections: Bucket | None = None
        self._datagrams: Bucket | None = None
        self._together: Together | None = None
        self.terms = Terms(0)
        self.change(Terms(terms) if isinstance(terms, int) else terms)

    @property
    def sources(self) -> int:
        """How much is remembered of sources, in entries."""
        return 0 if self._sources is None else len(self._sources)

    def change(self, terms: Terms) -> None:
        """Let other limits hold from now on. Connections that are open stay, and count under them at once.

        A rate that is another one begins with all its tokens. If anything about sources is other, what
        they have used of their rates is forgotten, and so are penalties.
        """
        old, self.terms = self.terms, terms
        self._most = terms.max_connections
        if terms.connection_rate != old.connection_rate:
            self._connections = _bucket(terms.connection_rate)
        if terms.datagram_rate != old.datagram_rate:
            self._datagrams = _bucket(terms.datagram_rate)
        if _about_sources(terms) != _about_sources(old):
            self._sources = Sources(terms, self._hosts) if any(_about_sources(terms)[:3]) else None
            if self._together is not None:
                self._together.recount({} if self._sources is None else self._sources.share(self._together))
        self._guarded = terms.access is not None or self._sources is not None
        self._let_in = lru_cache(REMEMBERED)(partial(_let_in, terms.access, self._sources))
        self.watched = self._guarded or self._datagrams is not None

    @property
    def shared(self) -> bool:
        """Whether it counts together with other processes."""
        return self._together is not None

    def share(self, together: Together) -> None:
        """Count together with other processes: the totals are theirs too. Nothing is open yet."""
        self._together = together
        if self._sources is not None:
            self._sources.share(together)

    def leave(self) -> None:
        """Count with nobody else any more. Nothing is open any more."""
        self._together = None
        if self._sources is not None:
            self._sources.leave()

    def admit(self, host: str | None = None) -> str | None:
        """Take a place for a connection: None, or why there is none. `release` gives it back."""
        if self._guarded and host is not None and (reason := self._refuse(host)):
            return reason
        if self.open >= self._most:
            return "max_connections"
        if self._together is not None and (reason := self._take_together(self._together, host)):
            return reason
        if self._connections is not None and not self._connections.take(self._seconds()):
            if self._together is not None:
                self._together.give(self._source(host))
            return "connection_rate"
        self.open += 1
        if host is not None:
            self._count(host)
        return None

    def identify(self, host: str) -> str | None:
        """Judge the peer of a place that was taken without an address, as behind a proxy: None, or why not.

        After None the place counts for `host` and is given back by it; after a refusal, still without.
        """
        if self._guarded and (reason := self._refuse(host)):
            return reason
        if (together := self._together) is not None and (source := self._source(host)) is not None:
            most = self.terms.max_per_source
            if most is not None and not together.identify(source, most):
                return "max_per_source"
        self._count(host)
        return None

    def release(self, host: str | None = None) -> None:
        """Give back a place that was taken for this address.

        Raises:
            KeyError: none was.
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
        if self._together is not None:
            self._together.give(self._source(host))

    def admit_datagram(self, host: str | None, now: float) -> str | None:
        """Whether a datagram that came at `now` may be delivered: None, or why not."""
        if self._guarded and host is not None:
            source = self._let_in(host)
            if source is None:
                return "denied"
            if self._sources is not None:
                return self._sources.admit_datagram(source, now, self._datagrams)
        if self._datagrams is not None and not self._datagrams.take(now):
            return "datagram_rate"
        return None

    def room(self) -> bool:
        """Whether the totals would let a connection in now."""
        return self.open < self._most and not self.wait()

    def wait(self) -> float:
        """Seconds until the rate of all connections has room; for a place, only a release can tell.

        For one that another process may give back, until it is time to look.
        """
        wait = 0.0 if self._connections is None else self._connections.until(self._seconds())
        if self._together is not None and self._together.total >= self._most:
            return max(wait, LOOK_EVERY)
        return wait

    def _take_together(self, together: Together, host: str | None) -> str | None:
        return together.take(self._most, self._source(host), self.terms.max_per_source)

    def _source(self, host: str | None) -> bytes | None:
        """What is counted for a host over all processes."""
        return None if host is None or self._sources is None else self._sources.key(host)

    def _refuse(self, host: str) -> str | None:
        source = self._let_in(host)
        if source is None:
            return "denied"
        return None if self._sources is None else self._sources.refuse_connection(source, self._seconds())

    def _count(self, host: str) -> None:
        self._hosts[host] = self._hosts.get(host, 0) + 1
        if self._sources is not None:
            self._sources.connect(self._sources.key(host), self._seconds())


def _let_in(access: AccessList | None, sources: Sources | None, host: str) -> bytes | None:
    """The source that a host counts under, as far as sources count; None if the networks keep it out."""
    if access is not None and not access.permits(host):
        return None
    return b"" if sources is None else sources.key(host)


def _bucket(rate: Rate | None) -> Bucket | None:
    return Bucket(rate) if rate else None


def _about_sources(terms: Terms) -> tuple[object, ...]:
    """What `Sources` goes by; it has something to do if one of the first three is given."""
    return (
        terms.max_per_source,
        terms.connection_rate_per_source,
        terms.datagram_rate_per_source,
        terms.penalty,
        terms.penalty_after,
        terms.source_prefix_ipv4,
        terms.source_prefix_ipv6,
    )
