"""Listening socket of an own port, which can be replaced while connections stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import maybeDeferred

from sockd.sockets.open import BoundSocket


class MovablePort:
    """Port of the reactor on a socket.

    Args:
        bound: the socket.
        adopt: gives a socket to the reactor, and returns the reactor's port.
    """

    def __init__(self, bound: BoundSocket, adopt: Callable[[BoundSocket], Any]) -> None:
        self.bound = bound
        self._adopt = adopt
        self._port: Any = None

    def open(self) -> None:
        """Accept connections from now on."""
        self._port = self._adopt(self.bound)

    async def move(self, bound: BoundSocket) -> None:
        """Accept on another socket in place of this one, and close this one; connections stay."""
        former, port = self.bound, self._port
        self.bound = bound
        try:
            self.open()
            if port is not None:
                await maybeDeferred(port.stopListening)
        finally:
            former.close()

    async def close(self) -> None:
        """Accept no more, and close the socket; connections stay."""
        try:
            if self._port is not None:
                await maybeDeferred(self._port.stopListening)
        finally:
            self.bound.close()
