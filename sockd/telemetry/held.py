"""The logger that a plugin writes with: no peer can make the log grow without end.

A plugin tells about its peers in the field `peer`. Of one kind of event, the first few about a source are
written, then one a minute, which says how many were held back (`alike`). All sources together have a bound
for each kind too, and so have events without a peer. Events of level debug are not held back.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger, LogLevel

AT_ONCE, EVERY = 20, 60.0
"""Events of a kind about one source that are written at once, and seconds for each one after them."""

ALL_AT_ONCE, ALL_EVERY = 200, 1.0
"""The same for a kind over all sources."""

MOST_SOURCES = 4096
"""Pairs of a kind and a source that are told apart; the one not heard of for longest makes room."""

MOST_KINDS = 100
"""Kinds that are told apart. An author may write what a peer has sent into an event's name; all further names
are one kind."""

PREFIX = 64
"""Bits of an IPv6 address that are one source, as with the limits."""

Kind = tuple[str, str]
"""Level and format of an event."""


class _Allowance:
    """Events that may be written; one more with time."""

    __slots__ = ("_at", "_every", "_left", "_most", "held")

    def __init__(self, most: int, every: float, now: float) -> None:
        self._most = most
        self._every = every
        self._left = float(most)
        self._at = now
        self.held = 0  # since one was written

    def has_room(self, now: float) -> bool:
        """Whether one may be written."""
        self._left = min(self._most, self._left + (now - self._at) / self._every)
        self._at = now
        return self._left >= 1

    def take(self) -> int:
        """Write one; returns how many were held back before it."""
        self._left -= 1
        held, self.held = self.held, 0
        return held


class HeldLogger(Logger):
    """Twisted's logger, within bounds.

    Args:
        namespace: as Twisted's.
        seconds: a monotonic clock.
        count: called with the name of each event that is not written.
    """

    def __init__(self, namespace: str, seconds: Callable[[], float], count: Callable[[str], None]) -> None:
        super().__init__(namespace)
        self._seconds = seconds
        self._count = count
        self._lock = threading.Lock()  # plugins write from threads, too
        self._kinds: dict[Kind, _Allowance] = {}
        self._sources: OrderedDict[tuple[Kind, str], _Allowance] = OrderedDict()

    def emit(self, level: LogLevel, format: str | None = None, **kwargs: object) -> None:  # noqa: A002
        """Write an event, or count it.

        Args:
            level: of the event.
            format: its name.
            kwargs: its fields.
        """
        if level is not LogLevel.debug:
            with self._lock:
                name, held = self._admit(level.name, str(format), kwargs.get("peer"))
            if held is None:
                self._count(name)
                return
            if held:
                kwargs["alike"] = held
        super().emit(level, format, **kwargs)

    def _admit(self, level: str, name: str, peer: object) -> tuple[str, int | None]:
        """The name under which an event counts, and how many were held back before it; None to hold it."""
        now = self._seconds()
        kind = level, name
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind = level, ""
        every = self._kinds.get(kind)
        if every is None:
            every = self._kinds[kind] = _Allowance(ALL_AT_ONCE, ALL_EVERY, now)
        source = every if peer is None else self._source(kind, source_of(peer), now)
        if not (source.has_room(now) and every.has_room(now)):
            source.held += 1
            return kind[1] or "other", None
        held = source.take()
        if source is not every:
            every.take()
        return kind[1] or "other", held

    def _source(self, kind: Kind, source: str, now: float) -> _Allowance:
        key = kind, source
        allowance = self._sources.get(key)
        if allowance is None:
            if len(self._sources) >= MOST_SOURCES:
                self._sources.popitem(last=False)
            allowance = self._sources[key] = _Allowance(AT_ONCE, EVERY, now)
        self._sources.move_to_end(key)
        return allowance


def source_of(peer: object) -> str:
    """An address without its port; of IPv6 the network that is one source. Anything else is as it is."""
    host: object = peer
    if IAddress.providedBy(peer):
        host = getattr(peer, "host", None) or getattr(peer, "name", "")
    elif isinstance(peer, tuple) and peer:
        host = peer[0]
    text = str(host)[:100]
    for part in (text, text.removeprefix("[").partition("]")[0], text.rpartition(":")[0]):
        try:
            address = ip_address(part)
        except ValueError:
            continue
        if address.version == 6 and address.ipv4_mapped is None:
            return str(ip_network((address.packed, PREFIX), strict=False))
        return str(getattr(address, "ipv4_mapped", None) or address)
    return text
