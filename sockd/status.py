"""What a running server tells about itself, as values for JSON, without a word that a peer has chosen."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from sockd import __version__
from sockd.connection import Connection
from sockd.listener import DatagramListener, Listener, StreamListener
from sockd.server import Server
from sockd.service import Service
from sockd.telemetry.events import DURATIONS, ServiceEvents, peer_name
from sockd.transport import queue_length


def snapshot(server: Server) -> dict[str, Any]:
    """The whole server."""
    return {
        "pid": os.getpid(),
        "version": __version__,
        "reactor": type(server.reactor).__name__,
        "started": server.started,
        "time": time.time(),
        "state": server.state,
        "descriptors": {"used": len(os.listdir("/proc/self/fd")), "limit": server.descriptors.most},
        "timers": len(server.reactor.getDelayedCalls()),
        "services": [_service(service, _counted(server, service)) for service in server.all_services],
    }


def _counted(server: Server, service: Service) -> ServiceEvents:
    """What it has counted; nothing for one that finishes while another goes on with its counts."""
    successor = next((other for other in server.services if other.events is service.events), service)
    return service.events if successor is service else ServiceEvents(service.name, time.monotonic)


def _service(service: Service, events: ServiceEvents) -> dict[str, Any]:
    open_ones = list(service.connections)
    moved = [connection.bytes_moved() for connection in open_ones]
    return {
        "name": service.name,
        "plugin": service.config.plugin,
        "state": service.state,
        "connections": len(service.connections),
        "handshakes": service.connections.handshakes,
        "limits": service.config.limits.model_dump(mode="json"),
        "counts": [[event, reason, count] for (event, reason), count in sorted(events.counts.items())],
        "received": events.received + sum(received for received, _ in moved),
        "sent": events.sent + sum(sent for _, sent in moved),
        "datagrams_received": events.datagrams_received,
        "datagrams_sent": events.datagrams_sent,
        "durations": {"bounds": DURATIONS, "counts": events.durations, "sum": events.duration},
        "listeners": [_listener(listener) for listener in service.listeners],
    }


def _listener(listener: Listener) -> dict[str, Any]:
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
        "kind": "stream" if isinstance(listener, StreamListener) else "datagram",
        "tls": expires is not None,
        "queue": queue,
        "backlog": backlog,
        "drops": drops,
        "certificate_expires": expires,
    }


def peers(server: Server) -> list[dict[str, Any]]:
    """Every open connection."""
    return [
        _connection(service, connection)
        for service in server.all_services
        for connection in service.connections
    ]


def _connection(service: Service, connection: Connection) -> dict[str, Any]:
    received, sent = connection.bytes_moved()
    return {
        "id": f"{service.name}:{connection.id}",
        "service": service.name,
        "peer": peer_name(connection.getPeer()),
        "listener": peer_name(connection.getHost()),
        "age": round(service.connections.seconds() - connection.started, 3),
        "idle": round(connection.quiet_for(), 3),
        "received": received,
        "sent": sent,
        "state": connection.state,
    }


def find(server: Server, name: str) -> Connection | None:
    """The connection with the name that `peers` gives it."""
    service_name, _, number = name.rpartition(":")
    for service in server.all_services:
        if service.name == service_name:
            for connection in service.connections:
                if str(connection.id) == number:
                    return connection
    return None
