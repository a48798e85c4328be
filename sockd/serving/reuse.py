"""Sockets for another configuration: open ones that are taken over, and new ones."""

from __future__ import annotations

from collections.abc import Iterable

from sockd.config import Listener as ListenerConfig
from sockd.config import SocketOptions
from sockd.endpoint import Endpoint
from sockd.serving.listener import Listener
from sockd.sockets.open import BoundSocket, OpenSocket


class Sockets:
    """Sockets for a configuration. Those that the running configuration has open are taken over.

    Args:
        running: open listeners.
        open_socket: opens a new socket.
    """

    def __init__(self, running: Iterable[Listener], open_socket: OpenSocket) -> None:
        self._running = {
            _key(listener.config): listener.bound for listener in running if not listener.bound.lost
        }
        self._open_socket = open_socket
        self.taken: list[BoundSocket] = []
        self._new: list[BoundSocket] = []

    def open(self, endpoint: Endpoint, options: SocketOptions) -> BoundSocket:
        """Return an open socket, or a new one. Raises as `open_socket`."""
        bound = self._running.pop((endpoint, options), None)
        if bound is not None:
            self.taken.append(bound)
            return bound
        bound = self._open_socket(endpoint, options)
        self._new.append(bound)
        return bound

    def give_up(self) -> None:
        """Close the new sockets; those that were taken over stay open."""
        for bound in self._new:
            bound.close()


def _key(listener: ListenerConfig) -> tuple[Endpoint, SocketOptions]:
    return listener.endpoint, listener.socket
