"""Every event that sockd itself reports, with its name and its fields, in one place.

An event is a twisted.logger event whose format is its name and whose other keys are its fields; `logs`
renders them. Levels by audience: info is for whoever watches the daemon, warn wants the operator, error
wants the author of a plugin, debug tells about each connection.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from sockd.telemetry.held import HeldLogger
from sockd.telemetry.watchdog import Block

DURATIONS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
"""Seconds: bounds by which connections are counted when they are gone."""

ALIKE_PERIOD = 60.0
"""Seconds in which events of one kind are written once and then counted, so that no peer can fill the log."""

MAX_KINDS = 1000
"""How many kinds are told apart. A kind holds nothing that a peer chooses, so there are never so many."""

Peer = IAddress | tuple[str, int] | str | bytes | None
"""A peer's address, as a stream's or a datagram's transport gives it."""


class ServerEvents:
    """What happens to the daemon as a whole."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._log = Logger(namespace="sockd")
        self._seconds = seconds
        self._short: tuple[float, int] = (-ALIKE_PERIOD, 0)  # when written, how many since

    def ready(self, services: int, listeners: int, reactor: str) -> None:
        """Everything is open."""
        self._log.info("ready", services=services, listeners=listeners, reactor=reactor)

    def reactor_fallback(self, reason: str) -> None:
        """The fast reactor cannot be used here, Twisted's own serves."""
        self._log.info("reactor fallback", reason=reason)

    def reloaded(self, plan: Mapping[str, list[str]]) -> None:
        """Another configuration is served."""
        self._log.info("reloaded", **{key: names for key, names in plan.items() if names})

    def stopping(self, connections: int, drain_timeout: float) -> None:
        """Accepting has ended everywhere."""
        self._log.info("stopping", connections=connections, drain_timeout=drain_timeout)

    def stopped(self, cut: int) -> None:
        """The last connection is gone; `cut` of them had to be aborted."""
        self._log.info("stopped", cut=cut)

    def descriptors_short(self, limit: int) -> None:
        """Accepting pauses, for nearly all file descriptors are used."""
        now, (written, since) = self._seconds(), self._short
        if now - written < ALIKE_PERIOD:
            self._short = written, since + 1
            return
        self._short = now, 0
        alike = {"alike": since} if since else {}
        self._log.warn("file descriptors short", limit=limit, **alike)


class DaemonEvents:
    """What happens to the process."""

    def __init__(self) -> None:
        self._log = Logger(namespace="sockd")

    def not_reloaded(self, reason: str) -> None:
        """A configuration cannot be served; nothing has changed."""
        self._log.error("not reloaded", reason=reason)

    def not_upgraded(self, reason: str) -> None:
        """The code is the same as before."""
        self._log.error("not upgraded", reason=reason)

    def door_listening(self, door: str, address: str) -> None:
        """A port of the daemon's own is open."""
        self._log.info("serving", what=door, address=address)

    def door_lost(self, door: str, address: str, reason: str) -> None:
        """The path of a port of the daemon's own is gone, and it cannot be bound anew."""
        self._log.error("unreachable", what=door, address=address, reason=reason)

    def blocked(self, block: Block) -> None:
        """Something keeps the reactor from serving, or has kept it. Called by the watchdog's thread."""
        seconds = round(block.seconds, 3)
        if block.over:
            self._log.warn("reactor free again", blocked=seconds, place=block.place)
        else:
            self._log.warn("reactor blocked", blocked=seconds, place=block.place, stack=block.stack)


class ServiceEvents:
    """What happens to one service; counts everything by event and reason.

    Args:
        service: its name.
        seconds: the clock that measures `ALIKE_PERIOD`.
        each_connection: whether opening and closing are written too; at a level that is not shown they
            would only cost time.
    """

    def __init__(self, service: str, seconds: Callable[[], float], *, each_connection: bool = False) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.received = self.sent = 0  # bytes of the connections that are gone, and of datagrams
        self.datagrams_received = self.datagrams_sent = 0  # delivered to the plugin, and sent by it
        self.durations = [0] * (len(DURATIONS) + 1)  # of them, by the bound that each is below; then longer
        self.duration = 0.0  # of all of them together, in seconds
        self._log = Logger(namespace=f"sockd.{service}")
        self.log = HeldLogger(f"sockd.{service}", seconds, self._count_held)  # for the plugin
        self._seconds = seconds
        self.each_connection = each_connection
        self._last: dict[tuple[str, str], tuple[float, int]] = {}  # when written, how many since

    def _count_held(self, name: str) -> None:
        self.counts["log event held", name] += 1

    def listening(self, address: str, protocol: str) -> None:
        """A listener is open at its real address."""
        self._log.info("listening", address=address, protocol=protocol)

    def certificates_loaded(self, address: str) -> None:
        """A listener shows new certificates from now on."""
        self._log.info("certificates loaded", address=address)

    def certificates_faulty(self, address: str, reason: str) -> None:
        """Files of certificates have changed and cannot be used; the earlier ones are still shown."""
        self._seldom(LogLevel.warn, "certificates faulty", address, None, address=address, reason=reason)

    def opened(self, peer: Peer, connection: int) -> None:
        """A connection has been handed to the plugin."""
        self.counts["opened", ""] += 1
        if self.each_connection:
            self._log.debug("connection opened", peer=peer_name(peer), id=connection)

    def closed(
        self, peer: Peer, connection: int, reason: str, duration: float, received: int, sent: int
    ) -> None:
        """A connection is gone, for this reason, after this many seconds and bytes."""
        self.counts["closed", reason] += 1
        self.durations[bisect_left(DURATIONS, duration)] += 1
        self.duration += duration
        self.received += received
        self.sent += sent
        if self.each_connection:
            self._log.debug(
                "connection closed",
                peer=peer_name(peer),
                id=connection,
                reason=reason,
                duration=round(duration, 3),
                received=received,
                sent=sent,
            )

    def handshake(self, fault: str = "") -> None:
        """A TLS handshake is over: complete, or at an end for this reason."""
        self.counts["handshake", fault] += 1

    def refused(self, peer: Peer, reason: str) -> None:
        """A connection was closed before the plugin saw it."""
        self._seldom(LogLevel.warn, "connection refused", reason, peer, reason=reason)

    def dropped(self, peer: Peer, reason: str) -> None:
        """A datagram was not delivered or not sent."""
        self._seldom(LogLevel.info, "datagram dropped", reason, peer, reason=reason)

    def plugin_fault(self, callback: str, failure: Failure, peer: Peer = None) -> None:
        """The plugin raised in `callback`."""
        kind = f"{callback} {type(failure.value).__name__} {_line(failure)}"
        self._seldom(LogLevel.error, "plugin fault", kind, peer, log_failure=failure, callback=callback)

    def _seldom(self, level: Any, name: str, kind: str, peer: Peer, **fields: object) -> None:
        """Count the event; write it unless one of its kind has been written lately."""
        key = name, kind
        self.counts[key] += 1
        now = self._seconds()
        written, since = self._last.get(key, (-ALIKE_PERIOD, 0))
        if now - written < ALIKE_PERIOD or (key not in self._last and len(self._last) >= MAX_KINDS):
            self._last[key] = written, since + 1
            return
        self._last[key] = now, 0
        if peer is not None:
            fields["peer"] = peer_name(peer)
        if since:
            fields["alike"] = since
        self._log.emit(level, name, **fields)


def peer_name(address: Peer) -> str:
    """A peer's address as one short word: `127.0.0.1:40112`, `[::1]:40112`, a path, or `-`."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(address, IPv4Address | IPv6Address):
        return peer_name((address.host, address.port))
    name = getattr(address, "name", address)
    if isinstance(name, bytes):
        name = name.decode(errors="backslashreplace")
    return str(name or "-")


def _line(failure: Failure) -> str:
    """Where it was raised, so that two faults of one type are two kinds."""
    traceback = failure.getTracebackObject()
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback is not None else ""
