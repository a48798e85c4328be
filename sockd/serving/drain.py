"""Drain of a service that ends: the wait for its connections, and for what its datagram ports have begun."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from sockd.serving.listener import DatagramListener
from sockd.stream.open_connections import OpenConnections


class Drain:
    """Wait for the peers of one service, once it accepts no more.

    Args:
        reactor: for the deadline.

    Attributes:
        begun: whether the service drains.
    """

    def __init__(self, reactor: Any) -> None:
        self.begun = False
        self._reactor = reactor
        self._ports: list[DatagramListener] = []
        self._serving = 0  # ports on which something is under way
        self._connections: OpenConnections | None = None
        self._waiting: Deferred[None] | None = None
        self._hurried = False

    def keep(self, listener: DatagramListener) -> bool:
        """Leave a port open until it has ended what it has begun; return False if that is nothing."""
        drained = listener.drain()
        if drained is None or drained.called:
            return False
        self._ports.append(listener)
        self._serving += 1
        drained.addBoth(self._served)
        return True

    async def wait(self, connections: OpenConnections, patience: float) -> None:
        """Wait for the connections and the ports, at most so many seconds, and close the ports."""
        self.begun = True
        self._connections = connections
        if (connections.busy or self._serving) and patience and not self._hurried:
            self._waiting = Deferred()
            timer = self._reactor.callLater(patience, self._end)
            await self._waiting
            if timer.active():
                timer.cancel()
        ports, self._ports = self._ports, []
        for listener in ports:
            await listener.close()

    def look(self) -> None:
        """End the wait if there is no peer any more."""
        if self._connections is not None and not self._connections.busy and not self._serving:
            self._end()

    def hurry(self) -> None:
        """End the wait, also one that has not begun."""
        self._hurried = True
        self._end()

    def _served(self, _: object) -> None:
        self._serving -= 1
        self.look()

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)
