"""Reports of a process that serves: the methods that count what happens and write it to the log.

The catalogue declares the names, levels and fields of all events. What the supervisor reports is in
`supervision`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd.telemetry import catalogue
from sockd.telemetry.held import HeldLogger
from sockd.telemetry.watchdog import Block

DURATIONS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
"""Upper bounds, in seconds, of the buckets that count connections by duration."""

ALIKE_PERIOD = 60.0
"""Seconds for which an event is written once for each kind and then counted: no peer can fill the log."""

MAX_KINDS = 1000
"""Kinds of events that are told apart. A peer cannot choose any part of a kind, so there are fewer."""

Peer = IAddress | tuple[str, int] | str | bytes | None
"""Address of a peer, as the transport of a stream or of datagrams gives it."""


class ServerEvents:
    """Reports about the services as a whole."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._log = Logger(namespace="sockd")
        self._seconds = seconds
        self._short: tuple[float, int] = (-ALIKE_PERIOD, 0)  # time of the last write, events since

    def ready(self, services: int, listeners: int, reactor: str) -> None:
        """Report that every listener is open."""
        catalogue.READY.write(self._log, services=services, listeners=listeners, reactor=reactor)

    def reactor_fallback(self, reason: str) -> None:
        """Report why the reactor on uvloop cannot be used; Twisted's own reactor serves."""
        catalogue.REACTOR_FALLBACK.write(self._log, reason=reason)

    def reloaded(self, plan: Mapping[str, list[str]]) -> None:
        """Report the services that a reload has changed, by the kind of change."""
        catalogue.RELOADED.write(self._log, **{key: names for key, names in plan.items() if names})

    def broker_connected(self, server: str) -> None:
        """Report that the broker can be used."""
        catalogue.BROKER_CONNECTED.write(self._log, server=server)

    def broker_away(self, reason: str) -> None:
        """Report why the broker cannot be used."""
        catalogue.BROKER_AWAY.write(self._log, reason=reason)

    def broker_fault(self, failure: Failure) -> None:
        """Report an exception of the broker's client."""
        catalogue.BROKER_FAULT.write_failure(self._log, failure)

    def stopping(self, connections: int, drain_timeout: float) -> None:
        """Report the begin of the drain."""
        catalogue.STOPPING.write(self._log, connections=connections, drain_timeout=drain_timeout)

    def stopped(self, cut: int) -> None:
        """Report the end of the drain, with the number of aborted connections."""
        catalogue.STOPPED.write(self._log, cut=cut)

    def descriptors_short(self, limit: int) -> None:
        """Report that accepting pauses because nearly all of `limit` file descriptors are used."""
        now, (written, since) = self._seconds(), self._short
        if now - written < ALIKE_PERIOD:
            self._short = written, since + 1
            return
        self._short = now, 0
        alike = {"alike": since} if since else {}
        catalogue.DESCRIPTORS_SHORT.write(self._log, limit=limit, **alike)


class DaemonEvents:
    """Reports about the process, in both of its lives."""

    def __init__(self) -> None:
        self._log = Logger(namespace="sockd")

    def not_reloaded(self, reason: str) -> None:
        """Report why a configuration was refused; nothing has changed."""
        catalogue.NOT_RELOADED.write(self._log, reason=reason)

    def not_upgraded(self, reason: str) -> None:
        """Report why an upgrade failed; the code is the same as before."""
        catalogue.NOT_UPGRADED.write(self._log, reason=reason)

    def own_port_listening(self, port: str, address: str) -> None:
        """Report an open port of the daemon itself."""
        catalogue.SERVING.write(self._log, what=port, address=address)

    def own_port_lost(self, port: str, address: str, reason: str) -> None:
        """Report a port of the daemon itself whose path is gone and cannot be bound again."""
        catalogue.UNREACHABLE.write(self._log, what=port, address=address, reason=reason)

    def blocked(self, block: Block) -> None:
        """Report a blocked reactor, or the end of a block. The thread of the watchdog calls it."""
        seconds = round(block.seconds, 3)
        if block.over:
            catalogue.REACTOR_FREE.write(self._log, blocked=seconds, place=block.place)
        else:
            catalogue.REACTOR_BLOCKED.write(self._log, blocked=seconds, place=block.place, stack=block.stack)


class ServiceEvents:
    """Reports about one service, and the counts of its events by reason.

    Args:
        service: name of the service.
        seconds: clock that measures `ALIKE_PERIOD`.
        each_connection: write an event for each opened and closed connection. It costs time, so that it is
            off while the log does not show the level debug.
    """

    def __init__(self, service: str, seconds: Callable[[], float], *, each_connection: bool = False) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.received = self.sent = 0  # bytes of ended connections, and of datagrams
        self.datagrams_received = self.datagrams_sent = 0  # delivered to the plugin, and sent by it
        self.durations = [0] * (len(DURATIONS) + 1)  # ended connections by bucket; the last has no bound
        self.duration = 0.0  # sum over all ended connections, in seconds
        self._log = Logger(namespace=f"sockd.{service}")
        self.log = HeldLogger(f"sockd.{service}", seconds, self._count_held)  # for the plugin
        self._seconds = seconds
        self.each_connection = each_connection
        self._last: dict[tuple[str, str], tuple[float, int]] = {}  # time of the last write, events since

    def _count_held(self, name: str) -> None:
        self.counts["log event held", name] += 1

    def listening(self, address: str, protocol: str) -> None:
        """Report an open listener with its real address."""
        catalogue.LISTENING.write(self._log, address=address, protocol=protocol)

    def certificates_loaded(self, address: str) -> None:
        """Report new certificates of a listener."""
        catalogue.CERTIFICATES_LOADED.write(self._log, address=address)

    def certificates_faulty(self, address: str, reason: str) -> None:
        """Report changed certificates that cannot be used; the listener keeps the earlier ones."""
        self._write_seldom(catalogue.CERTIFICATES_FAULTY, address, None, address=address, reason=reason)

    def opened(self, peer: Peer, connection: int) -> None:
        """Count a connection that the plugin has got."""
        self.counts["opened", ""] += 1
        if self.each_connection:
            catalogue.OPENED.write(self._log, peer=peer_name(peer), id=connection)

    def closed(
        self, peer: Peer, connection: int, reason: str, duration: float, received: int, sent: int
    ) -> None:
        """Count a connection that has ended: reason, duration in seconds, bytes received and sent."""
        self.counts["closed", reason] += 1
        self.durations[bisect_left(DURATIONS, duration)] += 1
        self.duration += duration
        self.received += received
        self.sent += sent
        if self.each_connection:
            catalogue.CLOSED.write(
                self._log,
                peer=peer_name(peer),
                id=connection,
                reason=reason,
                duration=round(duration, 3),
                received=received,
                sent=sent,
            )

    def handshake(self, fault: str = "") -> None:
        """Count a TLS handshake: complete, or failed with this fault."""
        self.counts["handshake", fault] += 1

    def refused(self, peer: Peer, reason: str) -> None:
        """Count a connection that was closed before the plugin got it."""
        self._write_seldom(catalogue.REFUSED, reason, peer, reason=reason)

    def dropped(self, peer: Peer, reason: str) -> None:
        """Count a datagram that was not delivered or not sent."""
        self._write_seldom(catalogue.DROPPED, reason, peer, reason=reason)

    def plugin_fault(self, callback: str, failure: Failure, peer: Peer = None) -> None:
        """Count an exception of the plugin in `callback`."""
        kind = f"{callback} {type(failure.value).__name__} {_line(failure)}"
        self._write_seldom(catalogue.PLUGIN_FAULT, kind, peer, log_failure=failure, callback=callback)

    def _write_seldom(self, event: catalogue.Event, kind: str, peer: Peer, **fields: object) -> None:
        """Count the event, and write it once in `ALIKE_PERIOD` for each kind."""
        key = event.name, kind
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
        event.write(self._log, **fields)


def peer_name(address: Peer) -> str:
    """Return the address of a peer as one word: `127.0.0.1:40112`, `[::1]:40112`, a path, or `-`."""
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
    """Return the file and line that raised: two faults of one type are two kinds."""
    traceback = failure.getTracebackObject()
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback is not None else ""
