"""File descriptors that a configuration may come to need."""

from __future__ import annotations

import resource
from collections.abc import Sequence

from sockd.config.document import Document, Faults, sentence
from sockd.config.model import Config, ServiceConfig
from sockd.config.positions import KeyPath

RESERVED = 64
"""Descriptors of the process itself and of its plugins: the log, the reactor's own, open files."""

KEPT = 192
"""Descriptors that no connection takes, a quarter at most: the control socket and logs need some, and
plugins, which may open files for connections that are there already."""

_KEY = "max_connections"


def kept(available: int) -> int:
    """Return the number of descriptors, of so many, that no connection takes."""
    return min(KEPT, available // 4)


def descriptors_needed(config: Config) -> int:
    """Return the number of descriptors for the connections that the configuration promises.

    A service's own number is a promise. One for all services only bounds each of them, and so counts once. A
    default promises nothing, so that any machine can run with it.
    """
    promised = sum(service.limits.max_connections for service in _promising(config))
    listeners = sum(len(service.listen) for service in config.services.values())
    return RESERVED + listeners + promised + _common(config)


def descriptors_available() -> int | None:
    """Return the number of descriptors that the process may have, its hard limit; None if there is none."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def tell_excess(config: Config, sources: Sequence[Document], available: int, faults: Faults) -> None:
    """Add a fault for the largest number of connections, if all together are too many.

    Args:
        config: the result of reading `sources`.
        sources: the main file, and its includes.
        available: number of descriptors.
        faults: takes the fault.
    """
    needed = descriptors_needed(config)
    written = {service.limits.max_connections: service.name for service in _promising(config)}
    largest = max([*written, _common(config)])
    if needed <= available - kept(available) or not largest:
        return
    name = written.get(largest)
    path: KeyPath = ("service", name, "limits", _KEY) if name else ("limits", _KEY)
    document = next(source for source in sources if source.get(path) is not None)
    what = (
        f"all services together need {needed} descriptors (their connections, listeners and {RESERVED} more),"
        f" but the process may have {available} (ulimit -n), of which it keeps {kept(available)} free"
    )
    faults.add(document, path, sentence(path, what))


def _promising(config: Config) -> list[ServiceConfig]:
    """Return the services with a number of connections of their own."""
    return [service for service in _connected(config) if _KEY in service.limits.model_fields_set]


def _common(config: Config) -> int:
    """Return the number that was written for all services, 0 if it was not or all have their own."""
    written = _KEY in config.limits.model_fields_set
    needed = written and len(_promising(config)) < len(_connected(config))
    return config.limits.max_connections if needed else 0


def _connected(config: Config) -> list[ServiceConfig]:
    """Return the services that have connections at all."""
    return [
        service
        for service in config.services.values()
        if any(listener.endpoint.stream for listener in service.listen)
    ]
