"""Status of a server as values for JSON, without a word that a peer has chosen."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Mapping

from twisted.internet.task import deferLater

from sockd import __version__
from sockd.serving.broker import status_of
from sockd.serving.listener import DatagramListener, Listener, StreamListener
from sockd.serving.server import Server
from sockd.serving.service import Service
from sockd.serving.share import needs_one_worker
from sockd.sockets.descriptors import used
from sockd.sockets.transport import queue_length
from sockd.stream.connection import Connection
from sockd.telemetry.events import DURATIONS, ServiceEvents, peer_name
from sockd.telemetry.snapshot import ConnectionRow, ListenerRow, ProcessSnapshot, ServiceRow

PIECE = 200
"""Connections that are asked in one turn of the reactor: a millisecond or two."""

Moved = Mapping[Connection, tuple[int, int]]
"""Bytes that connections have received and sent."""


async def _in_turns(server: Server) -> AsyncIterator[tuple[Service, list[Connection]]]:
    """Yield the open connections in pieces, between which the reactor serves."""
    first = True
    for service in server.all_services:
        connections = list(service.connections)
        for start in range(0, len(connections), PIECE):
            if not first:
                await deferLater(server.reactor, 0)
            first = False
            yield (
                service,
                [each for each in connections[start : start + PIECE] if each in service.connections],
            )


async def moved(server: Server) -> Moved:
    """Return the bytes of each connection, asked in several turns: ten thousand take too long for one."""
    return {each: each.bytes_moved() async for _, piece in _in_turns(server) for each in piece}


def snapshot(server: Server, moved: Moved | None = None, *, reactor_delay: float = 0.0) -> ProcessSnapshot:
    """Return the status of a whole server.

    Args:
        server: that is asked.
        moved: what connections have moved, as far as they have been asked already.
        reactor_delay: longest recent delay of the reactor, in seconds.
    """
    known = moved or {}
    status: ProcessSnapshot = {
        "pid": os.getpid(),
        "version": __version__,
        "reactor": type(server.reactor).__name__,
        "started": server.started,
        "time": time.time(),
        "state": server.state,
        "descriptors": {"used": used(), "limit": server.descriptors.most},
        "timers": len(server.reactor.getDelayedCalls()),
        "services": [_service(service, _counted(server, service), known) for service in server.all_services],
        "reactor_delay": reactor_delay,
    }
    if (broker := status_of(server.broker)) is not None:
        status["broker"] = broker
    return status


def _counted(server: Server, service: Service) -> ServiceEvents:
    """Return the counts of a service; empty where a successor goes on with them."""
    successor = next((other for other in server.services if other.events is service.events), service)
    return service.events if successor is service else ServiceEvents(service.name, time.monotonic)


def _service(service: Service, events: ServiceEvents, known: Moved) -> ServiceRow:
    # Of one that has ended since it was asked, `events` has the bytes.
    moved = [known.get(connection) or connection.bytes_moved() for connection in service.connections]
    return {
        "name": service.name,
        "plugin": service.config.plugin,
        "state": service.state,
        "connections": len(service.connections),
        "handshakes": service.connections.handshakes.unfinished if events is service.events else 0,
        "limits": service.config.limits.model_dump(mode="json"),
        "counts": [[event, reason, count] for (event, reason), count in sorted(events.counts.items())],
        "received": events.received + sum(received for received, _ in moved),
        "sent": events.sent + sum(sent for _, sent in moved),
        "datagrams_received": events.datagrams_received,
        "datagrams_sent": events.datagrams_sent,
        "durations": {"bounds": DURATIONS, "counts": events.durations, "sum": events.duration},
        "listeners": [_listener(listener) for listener in service.listeners],
        "alone": needs_one_worker(service.config),
    }


def _listener(listener: Listener) -> ListenerRow:
    queue, backlog, drops, expires = None, None, None, None
    if isinstance(listener, StreamListener):
        if listener.bound.socket.family != socket.AF_UNIX:
            queue, backlog = queue_length(listener.bound.socket)
        if listener.credentials is not None:
            expires = listener.credentials.expires.timestamp()
    elif isinstance(listener, DatagramListener) and listener.port is not None:
        drops = listener.port.kernel_drops()
    return {
        "address": listener.bound.address,
        "protocol": listener.protocol,
        "lost": listener.bound.lost,
        "kind": "stream" if isinstance(listener, StreamListener) else "datagram",
        "tls": expires is not None,
        "queue": queue,
        "backlog": backlog,
        "drops": drops,
        "certificate_expires": expires,
    }


async def peers(server: Server) -> list[ConnectionRow]:
    """Return a row for each connection, asked in several turns."""
    return [_connection(service, each) async for service, piece in _in_turns(server) for each in piece]


def _connection(service: Service, connection: Connection) -> ConnectionRow:
    received, sent = connection.bytes_moved()
    return {
        "id": f"{service.name}:{connection.id}",
        "service": service.name,
        "peer": peer_name(connection.getPeer()),
        "listener": peer_name(connection.getHost()),
        "age": round(service.connections.context.seconds() - connection.started, 3),
        "idle": round(connection.quiet_for(), 3),
        "received": received,
        "sent": sent,
        "state": connection.state,
    }


def find(server: Server, name: str) -> Connection | None:
    """Return the connection with the name that `peers` gives it; None if it is gone."""
    service_name, _, number = name.rpartition(":")
    for service in server.all_services:
        if service.name == service_name:
            for connection in service.connections:
                if str(connection.id) == number:
                    return connection
    return None
