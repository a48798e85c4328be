"""Share of one worker in a configuration.

Every worker serves streams, and one worker serves each datagram socket: two readers would split the datagrams
of one peer. The first worker alone serves a service whose plugin keeps shared state in memory
(`shared_state`).

Totals hold for all workers together. Rates, and limits of each process, are divided among the workers that
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
"""Ports of sockets, by the name of the service and the index in its `listen`."""

_DIVIDED: Mapping[Transport, Sequence[str]] = {
    transport: [key for key, scope in SCOPES.items() if (scope.workers, scope.over) == ("divided", transport)]
    for transport in get_args(Transport)
}
"""Limits that are divided among the workers, by transport."""


def needs_one_worker(service: ServiceConfig) -> bool:
    """Return whether the plugin keeps shared state of its peers in memory."""
    return bool(getattr(type(service.options), "shared_state", False))


def at_true_ports(config: Config, ports: Ports) -> Config:
    """Return the configuration with the ports that the kernel has chosen instead of 0."""

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
    """Return the part of one worker.

    Args:
        config: whole configuration, with the options of the plugins.
        worker: number of the worker, from 0.
        workers: number of workers.
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
    """Return the number of the worker that serves a listener; None if all do."""
    if needs_one_worker(service):
        return 0
    if listener.endpoint.stream:
        return None
    return crc32(f"{service.name} {listener.endpoint}".encode()) % workers


def divided(service: ServiceConfig, limits: Limits, workers: int) -> Limits:
    """Return the limits of one process for these limits of the service."""
    owners = [_owner(service, listener, workers) for listener in service.listen]
    among = dict.fromkeys(_DIVIDED["stream"], workers if None in owners else 1)
    among |= dict.fromkeys(_DIVIDED["datagram"], len({*owners} - {None}))
    parts = {key: _part(getattr(limits, key), count) for key, count in among.items()}
    return limits.model_copy(
        update={key: part for key, part in parts.items() if part != getattr(limits, key)}
    )


def _part(whole: Rate | int | None, among: int) -> Rate | int | None:
    """Return one of so many equal parts; a part of a rate admits at least one at once."""
    if whole is None or among < 2:
        return whole
    if isinstance(whole, int):
        return max(1, whole // among)
    count = max(1, whole.count // among)
    return Rate(count, whole.seconds * among * count / whole.count)
