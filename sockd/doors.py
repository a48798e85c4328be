"""The daemon's own ports: the control socket, and metrics with the status page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from sockd.config import Config, SocketOptions
from sockd.control.listener import ControlListener, open_control
from sockd.control.operator import Operator
from sockd.service import OpenSocket
from sockd.sockets import BoundSocket


class Door(Protocol):
    """One of them."""

    name: str
    bound: BoundSocket

    def open(self) -> None:
        """Begin to answer."""

    async def close(self) -> None:
        """Answer no more."""


def open_doors(
    config: Config,
    operator: Operator,
    snapshot: Callable[[], dict[str, Any] | Awaitable[dict[str, Any]]],
    reactor: Any,
    open_socket: OpenSocket,
) -> list[Door]:
    """Those that the configuration has, with their sockets open; nobody is answered yet.

    Raises:
        BindError: one cannot be opened; nothing is left open.
    """
    doors: list[Door] = []
    bound = None
    if config.control.listen is not None:
        bound = open_control(config.control.listen)
        doors.append(ControlListener(bound, operator, reactor))
    if config.metrics.listen is not None:
        try:
            metrics = open_socket(config.metrics.listen, SocketOptions())
        except BaseException:  # whatever it was, nothing stays open
            if bound is not None:
                bound.close()
            raise
        # Not for those who have no such port: it takes a tenth of a second to import.
        from sockd.telemetry.pages import MetricsListener

        doors.append(MetricsListener(metrics, snapshot, reactor))
    return doors
