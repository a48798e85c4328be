"""What another configuration changes, service by service, so that only that is touched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass

from sockd.config import Config, ServiceConfig, SocketOptions
from sockd.config import Listener as ListenerConfig
from sockd.endpoint import Endpoint
from sockd.listener import Listener
from sockd.service import OpenSocket
from sockd.sockets import BoundSocket

AT_ONCE: Mapping[str, set[str]] = {
    "daemon": {"drain_timeout", "include", "max_unread_output", "start_timeout"},
    "log": {"level"},
    "control": set(),
    "metrics": set(),
}
"""Of the tables beside the services, the keys that hold at once; the others are read at the start alone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The names of services, by what becomes of them.

    Attributes:
        keep: nothing about them is other.
        limits: other limits hold, for open connections too.
        listeners: some ports open or close, or UNIX sockets have lost their paths and are bound again; the
            others, and all connections, stay.
        restart: a new instance of the plugin serves new connections, the old one finishes its own.
        add: they are new.
        remove: they are gone; their connections finish.
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
        """For JSON."""
        return {key: list(names) for key, names in asdict(self).items()}


def plan(old: Config, new: Config, lost: Collection[str] = ()) -> Plan:
    """How to get from one configuration to the other.

    Args:
        old: what is served.
        new: what is to be served.
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
    # Two instances of a plugin differ in what they hold while they run, so their options are compared.
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


class Sockets:
    """Opens sockets for a configuration, but for those that the running one has open: these are taken over.

    Args:
        running: what is open.
        open_socket: opens another one.
    """

    def __init__(self, running: Iterable[Listener], open_socket: OpenSocket) -> None:
        self._running = {
            _key(listener.config): listener.bound for listener in running if not listener.bound.lost
        }
        self._open_socket = open_socket
        self.taken: list[BoundSocket] = []
        self._new: list[BoundSocket] = []

    def open(self, endpoint: Endpoint, options: SocketOptions) -> BoundSocket:
        """One that is open already, or a new one. Raises as `open_socket` does."""
        bound = self._running.pop((endpoint, options), None)
        if bound is not None:
            self.taken.append(bound)
            return bound
        bound = self._open_socket(endpoint, options)
        self._new.append(bound)
        return bound

    def give_up(self) -> None:
        """Close what was opened; what was taken over stays with whom it was taken from."""
        for bound in self._new:
            bound.close()


def _key(listener: ListenerConfig) -> tuple[Endpoint, SocketOptions]:
    return listener.endpoint, listener.socket
