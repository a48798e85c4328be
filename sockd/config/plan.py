"""Plan of a reload: the changes between two configurations, service by service."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from sockd.config.model import Config, ServiceConfig

AT_ONCE: Mapping[str, set[str]] = {
    "daemon": {"drain_timeout", "include", "max_unread_output", "start_timeout"},
    "log": {"level"},
    "control": set(),
    "metrics": set(),
    "broker": set(),
}
"""Keys that take effect at a reload, by table; all others outside of services are read at the start alone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Names of services, by their change.

    Attributes:
        keep: no change.
        limits: other limits take effect, for open connections too.
        listeners: some ports open or close, or UNIX sockets have lost their paths and are bound again; the
            others, and all connections, stay.
        restart: a new instance of the plugin serves new connections, the old one finishes its own.
        add: new services.
        remove: services that are gone; their connections finish.
        later: tables of the file that have changed and are read at the start of the daemon alone.
    """

    keep: tuple[str, ...]
    limits: tuple[str, ...]
    listeners: tuple[str, ...]
    restart: tuple[str, ...]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    later: tuple[str, ...]

    def as_dict(self) -> dict[str, list[str]]:
        """Return the plan for JSON."""
        return {key: list(names) for key, names in asdict(self).items()}


def plan(old: Config, new: Config, lost: Collection[str] = ()) -> Plan:
    """Return the plan from one configuration to the other.

    Args:
        old: the configuration in force.
        new: the next one.
        lost: services of which UNIX sockets have lost their paths.
    """
    both = [name for name in new.services if name in old.services]
    kinds = {name: _kind(old.services[name], new.services[name], name in lost) for name in both}

    def of_kind(kind: str) -> tuple[str, ...]:
        return tuple(name for name in both if kinds[name] == kind)

    return Plan(
        keep=of_kind("keep"),
        limits=of_kind("limits"),
        listeners=of_kind("listeners"),
        restart=of_kind("restart"),
        add=tuple(name for name in new.services if name not in old.services),
        remove=tuple(name for name in old.services if name not in new.services),
        later=tuple(_only_at_start(old, new)),
    )


def _kind(old: ServiceConfig, new: ServiceConfig, lost: bool) -> str:
    # Instances of a plugin also differ in their run-time state, so only their options are compared.
    if old.plugin != new.plugin or old.options.model_dump() != new.options.model_dump():
        return "restart"
    if old.listen != new.listen or lost:
        return "listeners"
    return "keep" if old.limits == new.limits else "limits"


def _only_at_start(old: Config, new: Config) -> list[str]:
    return [
        table
        for table, at_once in AT_ONCE.items()
        if getattr(old, table).model_dump(exclude=at_once) != getattr(new, table).model_dump(exclude=at_once)
    ]
