"""Terms of admission, as values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

from sockd.config import Limits
from sockd.limits.networks import AccessList


class Rate(Protocol):
    """Rate of `count` in `seconds`; as many may come at once."""

    @property
    def count(self) -> int:
        """Number of events, at least 1."""

    @property
    def seconds(self) -> float:
        """Time for these events in seconds, more than 0."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of admission; None is no limit.

    A source is a peer's network of the given prefix length; UNIX peers have none.

    Attributes:
        max_connections: connections that are open at once.
        access: networks that are permitted or denied.
        max_per_source: connections of one source that are open at once.
        connection_rate: new connections of all peers.
        connection_rate_per_source: new connections of one source.
        datagram_rate: datagrams of all peers.
        datagram_rate_per_source: datagrams of one source.
        source_prefix_ipv4: bits of an IPv4 address that name its source.
        source_prefix_ipv6: bits of an IPv6 address that name its source; a customer has a /64 or more.
        penalty: seconds for which a source that keeps trying is refused.
        penalty_after: refusals of a source's connections, within ten seconds, that are forgiven; at least 1.
    """

    max_connections: int
    access: AccessList | None = None
    max_per_source: int | None = None
    connection_rate: Rate | None = None
    connection_rate_per_source: Rate | None = None
    datagram_rate: Rate | None = None
    datagram_rate_per_source: Rate | None = None
    source_prefix_ipv4: int = 32
    source_prefix_ipv6: int = 64
    penalty: float | None = None
    penalty_after: int = 10

    @classmethod
    def of(cls, limits: Limits) -> Terms:
        """Return the terms in the limits of a service, each by the name of its key."""
        named = {key: getattr(limits, key) for key in _NAMED}
        access = AccessList(limits.allow, limits.deny) if limits.allow or limits.deny else None
        return cls(access=access, **named)


_NAMED = sorted({each.name for each in fields(Terms)} & Limits.model_fields.keys())
"""Terms that are keys of [limits] too."""
