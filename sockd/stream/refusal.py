"""Refusal of a connection that is over a limit and is not simply closed."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.stream.open_connections import OpenConnections

MOST_TARPITS = 1000
"""Connections that one service holds in the tarpit; each costs a descriptor and nothing else."""


def turn_away(
    connections: OpenConnections, address: IAddress, reason: str, *, encrypts: bool
) -> IProtocol | None:
    """Count a peer that is over a limit, and return what serves it; None closes it.

    Args:
        connections: open connections of the service.
        address: the peer's.
        reason: the limit.
        encrypts: whether the peer expects ciphertext, and no banner.
    """
    connections.events.refused(address, reason)
    limits = connections.context.limits
    match limits.over_limit:
        case _ if reason == "denied":
            return None
        case "reset":
            return Goodbye(None, connections)
        case "banner" if not encrypts:
            return Goodbye(limits.over_limit_banner.encode() + b"\r\n", connections)
        case "tarpit" if len(connections.tarpits) < MOST_TARPITS:
            return Tarpit(connections)
    return None


@implementer(IProtocol)
class Goodbye:
    """Protocol that tells the peer a line, or nothing, and ends.

    Args:
        line: what it is told; None breaks the connection off instead.
        connections: of the service; it lingers there.
    """

    factory: Factory | None = None

    def __init__(self, line: bytes | None, connections: OpenConnections) -> None:
        self._line = line
        self._connections = connections

    def makeConnection(self, transport: Any) -> None:
        """Tell the line and linger, or reset."""
        if self._line is None:
            transport.abortConnection()
        else:
            transport.write(self._line)  # fits into an empty buffer, so it is on its way at once
            self._connections.context.lingering.take(transport)

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` is called instead."""

    def dataReceived(self, data: bytes) -> None:
        """Drop what the peer says."""

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: no place is held."""

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return type(self).__name__


@implementer(IProtocol)
class Tarpit:
    """Protocol that holds the peer without an answer and without reading, for `tarpit_time`."""

    factory: Factory | None = None

    def __init__(self, connections: OpenConnections) -> None:
        self._connections = connections
        self._transport: Any = None
        self.tick = 0

    def makeConnection(self, transport: Any) -> None:
        """Stop reading, and hold the peer."""
        self._transport = transport
        transport.pauseProducing()
        self._connections.tarpits.add(self)
        self._connections.context.deadlines.set(self, self._connections.context.limits.tarpit_time)

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` is called instead."""

    def dataReceived(self, data: bytes) -> None:
        """Drop what came before the pause."""

    def deadline_passed(self) -> None:
        """Abort, as it was held for long enough."""
        self._transport.abortConnection()

    def cut(self) -> None:
        """Let it go at once."""
        self._connections.context.deadlines.clear(self)
        self._transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IProtocol has it
        """Forget the peer."""
        self._connections.context.deadlines.clear(self)
        self._connections.tarpits.discard(self)

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return type(self).__name__
