"""The sockets of another configuration: those that are open already, and new ones."""

from __future__ import annotations

from collections.abc import Iterable

from sockd.config import Listener as ListenerConfig
from sockd.config import SocketOptions
from sockd.endpoint import Endpoint
from sockd.serving.listener import Listener
from sockd.sockets.open import BoundSocket, OpenSocket


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
