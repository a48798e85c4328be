"""What of a configuration one worker serves.

Streams are served by every worker, each datagram socket by one: two readers would tear the datagrams of one
peer apart. A service whose plugin keeps in memory what its peers share (`shared_state`) is served by the
first worker alone.

Totals hold for all workers together. Rates, and what a process has of its own, are divided among those that
serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args
from zlib import crc32

from sockd.config import Config, Limits, Listener, Rate, ServiceConfig
from sockd.config.limits import SCOPES
from sockd.endpoint import InetEndpoint, Transport

Ports = Mapping[tuple[str, int], int]
"""The port of a socket, by the service's name and the listener's place in its `listen`."""

_DIVIDED: Mapping[Transport, Sequence[str]] = {
    transport: [key for key, scope in SCOPES.items() if (scope.workers, scope.over) == ("divided", transport)]
    for transport in get_args(Transport)
}
"""Limits of which each worker has its part, by the transport that they are for."""


def needs_one_worker(service: ServiceConfig) -> bool:
    """Whether the plugin keeps in memory what its peers share."""
    return bool(getattr(type(service.options), "shared_state", False))


def at_true_ports(config: Config, ports: Ports) -> Config:
    """The same with the ports that the kernel has chosen in the place of 0, so that no two are equal."""

    def listener(name: str, index: int, written: Listener) -> Listener:
        endpoint, port = written.endpoint, ports.get((name, index))
        if port is None or not isinstance(endpoint, InetEndpoint):
            return written
        return written.model_copy(update={"endpoint": replace(endpoint, port=port)})

    services = {
        name: replace(
            service, listen=tuple(listener(name, index, each) for index, each in enumerate(service.listen))
        )
        for name, service in config.services.items()
    }
    return replace(config, services=services)


def share(config: Config, worker: int, workers: int) -> Config:
    """The part of one worker.

    Args:
        config: the whole, with the plugins' options.
        worker: which one, from 0.
        workers: how many there are.
    """
    services = {}
    for name, service in config.services.items():
        owners = [_owner(service, listener, workers) for listener in service.listen]
        listen = tuple(
            listener
            for listener, owner in zip(service.listen, owners, strict=True)
            if owner in (None, worker)
        )
        if listen:
            services[name] = replace(service, listen=listen, limits=divided(service, service.limits, workers))
    daemon = config.daemon.model_copy(
        update={"max_unread_output": max(1, config.daemon.max_unread_output // workers)}
    )
    return replace(config, daemon=daemon, services=services)


def _owner(service: ServiceConfig, listener: Listener, workers: int) -> int | None:
    """The one worker that serves a listener; None where all do."""
    if needs_one_worker(service):
        return 0
    if listener.endpoint.stream:
        return None
    return crc32(f"{service.name} {listener.endpoint}".encode()) % workers


def divided(service: ServiceConfig, limits: Limits, workers: int) -> Limits:
    """The limits of one process, where those of the service are so."""
    owners = [_owner(service, listener, workers) for listener in service.listen]
    among = dict.fromkeys(_DIVIDED["stream"], workers if None in owners else 1)
    among |= dict.fromkeys(_DIVIDED["datagram"], len({*owners} - {None}))
    parts = {key: _part(getattr(limits, key), count) for key, count in among.items()}
    return limits.model_copy(
        update={key: part for key, part in parts.items() if part != getattr(limits, key)}
    )


def _part(whole: Rate | int | None, among: int) -> Rate | int | None:
    """One of so many equal parts; of a rate it lets at least one in at once."""
    if whole is None or among < 2:
        return whole
    if isinstance(whole, int):
        return max(1, whole // among)
    count = max(1, whole.count // among)
    return Rate(count, whole.seconds * among * count / whole.count)
