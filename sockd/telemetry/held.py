"""Bounded logger for plugins: no peer can make the log grow without end.

A plugin names the peer in the field `peer`. The first events of one kind about one source are written, then
one each minute, with the number of those held back (`alike`). Each kind has a bound over all sources too;
events without a peer count for that alone. Events of level debug are not held back.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger, LogLevel

AT_ONCE, EVERY = 20, 60.0
"""Events of one kind about one source that are written at once, and seconds for each further event."""

ALL_AT_ONCE, ALL_EVERY = 200, 1.0
"""Events of one kind over all sources that are written at once, and seconds for each further event."""

MOST_SOURCES = 4096
"""Pairs of kind and source that are told apart; the least recently used pair makes room."""

MOST_KINDS = 100
"""Kinds that are told apart. A plugin may put bytes of a peer into the name of an event; all further names
are one kind."""

PREFIX = 64
"""Bits of the IPv6 network that is one source, as with the limits."""

Kind = tuple[str, str]
"""Level and name of an event."""


class _Allowance:
    """Token bucket of events that may be written."""

    __slots__ = ("_at", "_every", "_left", "_most", "held")

    def __init__(self, most: int, every: float, now: float) -> None:
        self._most = most
        self._every = every
        self._left = float(most)
        self._at = now
        self.held = 0  # events since the last write

    def has_room(self, now: float) -> bool:
        """Return whether an event may be written."""
        self._left = min(self._most, self._left + (now - self._at) / self._every)
        self._at = now
        return self._left >= 1

    def take(self) -> int:
        """Take a token; return the number of events held back before it."""
        self._left -= 1
        held, self.held = self.held, 0
        return held


class HeldLogger(Logger):
    """Logger of Twisted with bounds.

    Args:
        namespace: namespace of the events, as in Twisted.
        seconds: monotonic clock.
        count: called with the name of each event that is held back.
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
            level: level of the event.
            format: name of the event.
            kwargs: fields of the event.
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
        """Return the counted name of an event and the number held back before it, or None to hold it back."""
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
    """Return the address without its port, for IPv6 the network. Other values are returned as text."""
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
