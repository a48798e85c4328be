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
from sockd.telemetry.snapshot import OwnPortRow, Snapshot

CONTROL, METRICS = "control", "metrics"
"""Names of the own ports: in the log, in the status and in the state that a supervisor hands over."""


class OwnPort(Protocol):
    """Port of the daemon itself, with its socket open."""

    name: str

    @property
    def bound(self) -> BoundSocket:
        """The socket."""
        ...

    def open(self) -> None:
        """Accept connections from now on."""

    async def move(self, bound: BoundSocket) -> None:
        """Accept on another socket in place of this one, and close this one; connections stay."""

    async def close(self) -> None:
        """Close the socket and end the connections."""


def open_own_ports(
    config: Config,
    operator: Operator,
    snapshot: Callable[[], Snapshot | Awaitable[Snapshot]],
    reactor: Any,
    open_socket: OpenSocket,
    user: int | None = None,
) -> list[OwnPort]:
    """Open the sockets of the configured own ports; none accepts yet.

    Args:
        config: names the endpoints.
        operator: carries out control commands.
        snapshot: gives the content of the status page.
        reactor: the one that will run.
        open_socket: opens a socket, or takes one from the descriptor store.
        user: number of the user that the daemon changes to; None if it stays the present one.

    Raises:
        BindError: a socket cannot be opened; all are closed again.
    """
    bounds: dict[str, BoundSocket] = {}
    if config.control.listen is not None:
        bounds[CONTROL] = open_control(config.control.listen, user)
    if config.metrics.listen is not None:
        try:
            bounds[METRICS] = open_socket(config.metrics.listen, SocketOptions())
        except BaseException:  # whatever it was, nothing stays open
            for bound in bounds.values():
                bound.close()
            raise
    return own_ports_on(bounds, operator, snapshot, reactor, config.metrics.hosts)


def own_ports_on(
    bounds: Mapping[str, BoundSocket],
    operator: Operator,
    snapshot: Callable[[], Snapshot | Awaitable[Snapshot]],
    reactor: Any,
    hosts: Collection[str],
) -> list[OwnPort]:
    """Build the own ports whose sockets are open already, by name."""
    ports: list[OwnPort] = []
    if (control := bounds.get(CONTROL)) is not None:
        ports.append(ControlListener(control, operator, reactor))
    if (metrics := bounds.get(METRICS)) is not None:
        # Imported only where there is such a port: the import takes a tenth of a second.
        from sockd.control.pages import MetricsListener

        ports.append(MetricsListener(metrics, snapshot, reactor, hosts))
    return ports


async def renew_own_ports(ports: Iterable[OwnPort], open_socket: OpenSocket) -> None:
    """Bind UNIX sockets again that have lost their paths; log each that fails.

    Args:
        ports: accept already.
        open_socket: opens a socket for any port but the control socket.
    """
    events = DaemonEvents()
    for port in ports:
        endpoint = port.bound.endpoint
        if not port.bound.lost or not isinstance(endpoint, UnixEndpoint):
            continue
        try:
            control = port.name == CONTROL
            bound = open_control(endpoint) if control else open_socket(endpoint, SocketOptions())
        except BindError as error:  # the reload of the services goes on
            events.own_port_lost(port.name, port.bound.address, error.reason)
            continue
        await port.move(bound)
        events.own_port_listening(port.name, port.bound.address)


def describe_own_ports(ports: Iterable[OwnPort]) -> list[OwnPortRow]:
    """Return name, address and loss of the path of each own port, as JSON takes it."""
    return [{"name": port.name, "address": port.bound.address, "lost": port.bound.lost} for port in ports]
