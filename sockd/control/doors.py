"""The daemon's own ports: the control socket, and metrics with the status page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from sockd.config import Config, SocketOptions
from sockd.control.listener import ControlListener, open_control
from sockd.control.operator import Operator
from sockd.endpoint import UnixEndpoint
from sockd.errors import BindError
from sockd.sockets.open import BoundSocket, OpenSocket
from sockd.telemetry.events import DaemonEvents


class Door(Protocol):
    """One of them."""

    name: str
    bound: BoundSocket

    def open(self) -> None:
        """Begin to answer."""

    async def move(self, bound: BoundSocket) -> None:
        """Answer on another socket in place of this one, which is closed; connections stay."""

    async def close(self) -> None:
        """Answer no more."""


def open_doors(
    config: Config,
    operator: Operator,
    snapshot: Callable[[], dict[str, Any] | Awaitable[dict[str, Any]]],
    reactor: Any,
    open_socket: OpenSocket,
    user: int | None = None,
) -> list[Door]:
    """Those that the configuration has, with their sockets open; nobody is answered yet.

    Args:
        config: names them.
        operator: carries out what is asked.
        snapshot: what the status page shows.
        reactor: the one that will run.
        open_socket: opens a socket, or takes one that was kept.
        user: that the daemon goes on as; None if it is the present one.

    Raises:
        BindError: one cannot be opened; nothing is left open.
    """
    bounds: dict[str, BoundSocket] = {}
    if config.control.listen is not None:
        bounds["control"] = open_control(config.control.listen, user)
    if config.metrics.listen is not None:
        try:
            bounds["metrics"] = open_socket(config.metrics.listen, SocketOptions())
        except BaseException:  # whatever it was, nothing stays open
            for bound in bounds.values():
                bound.close()
            raise
    return doors_on(bounds, operator, snapshot, reactor, config.metrics.hosts)


def doors_on(
    bounds: Mapping[str, BoundSocket],
    operator: Operator,
    snapshot: Callable[[], dict[str, Any] | Awaitable[dict[str, Any]]],
    reactor: Any,
    hosts: Collection[str],
) -> list[Door]:
    """Those whose sockets are open already, by their names."""
    doors: list[Door] = []
    if (control := bounds.get("control")) is not None:
        doors.append(ControlListener(control, operator, reactor))
    if (metrics := bounds.get("metrics")) is not None:
        # Not for those who have no such port: it takes a tenth of a second to import.
        from sockd.control.pages import MetricsListener

        doors.append(MetricsListener(metrics, snapshot, reactor, hosts))
    return doors


async def renew_doors(doors: Iterable[Door], open_socket: OpenSocket) -> None:
    """Bind UNIX sockets anew that have lost their paths; the log tells of those for which this fails.

    Args:
        doors: that are open.
        open_socket: opens a socket for any but the control socket.
    """
    events = DaemonEvents()
    for door in doors:
        endpoint = door.bound.endpoint
        if not door.bound.lost or not isinstance(endpoint, UnixEndpoint):
            continue
        try:
            if door.name == "control":
                bound = open_control(endpoint)
            else:
                bound = open_socket(endpoint, SocketOptions())
        except BindError as error:  # the services have no part in it
            events.door_lost(door.name, door.bound.address, error.reason)
            continue
        await door.move(bound)
        events.door_listening(door.name, door.bound.address)


def own_ports(doors: Iterable[Door]) -> list[dict[str, Any]]:
    """Describe them for the status, as JSON takes it."""
    return [{"name": door.name, "address": door.bound.address, "lost": door.bound.lost} for door in doors]
