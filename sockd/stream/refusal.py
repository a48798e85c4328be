"""What becomes of a connection that is over a limit and is not simply closed."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.stream.open_connections import OpenConnections

MOST_TARPITS = 1000
"""Connections that one service holds in the tarpit; each costs a descriptor and nothing else."""


@implementer(IProtocol)
class Goodbye:
    """Tells the peer a line, or nothing, and ends.

    Args:
        line: what it is told; None breaks the connection off instead.
        connections: of the service; it lingers there.
    """

    factory: Factory | None = None

    def __init__(self, line: bytes | None, connections: OpenConnections) -> None:
        self._line = line
        self._connections = connections

    def makeConnection(self, transport: Any) -> None:
        """Tell it, and go."""
        if self._line is None:
            transport.abortConnection()
        else:
            transport.write(self._line)  # fits into an empty buffer, so it is on its way at once
            self._connections.context.lingering.take(transport)

    def connectionMade(self) -> None:
        """Never called: `makeConnection` is."""

    def dataReceived(self, data: bytes) -> None:
        """What the peer says is of no interest."""

    def connectionLost(self, reason: Failure) -> None:
        """It is gone."""

    def logPrefix(self) -> str:
        """What Twisted's log calls it."""
        return type(self).__name__


@implementer(IProtocol)
class Tarpit:
    """Holds the peer without an answer, and without reading what it sends, for `tarpit_time`."""

    factory: Factory | None = None

    def __init__(self, connections: OpenConnections) -> None:
        self._connections = connections
        self._transport: Any = None
        self.tick = 0

    def makeConnection(self, transport: Any) -> None:
        """It sticks."""
        self._transport = transport
        transport.pauseProducing()
        self._connections.tarpits.add(self)
        self._connections.context.deadlines.set(self, self._connections.context.limits.tarpit_time)

    def connectionMade(self) -> None:
        """Never called: `makeConnection` is."""

    def dataReceived(self, data: bytes) -> None:
        """Came before the pause."""

    def deadline_passed(self) -> None:
        """It was held for long enough."""
        self._transport.abortConnection()

    def cut(self) -> None:
        """Let it go at once."""
        self._connections.context.deadlines.clear(self)
        self._transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IProtocol has it
        """It is gone."""
        self._connections.context.deadlines.clear(self)
        self._connections.tarpits.discard(self)

    def logPrefix(self) -> str:
        """What Twisted's log calls it."""
        return type(self).__name__
