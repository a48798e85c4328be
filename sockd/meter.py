"""Looks at each byte of a connection: where the kernel counts none, and where they are limited."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockd.connection import Connection

BURST = 1.0
"""Seconds for which a connection may be ahead of its rate before it has to wait."""


class Meter:
    """Stands between transport and plugin.

    Args:
        connection: the one that it looks at.
        rate: bytes a second in both directions together; None for any.
        awaits_message: whether the peer has yet to make its first message complete.
    """

    __slots__ = (
        "_connection",
        "_paid_until",
        "_rate",
        "_spoke",
        "awaits_message",
        "moved",
        "received",
        "sent",
        "tick",
    )

    def __init__(self, connection: Connection, rate: int | None, *, awaits_message: bool) -> None:
        self._connection = connection
        self._rate = rate
        self._spoke = False
        self._paid_until = 0.0
        self.awaits_message = awaits_message
        self.moved = connection.connections.seconds()
        self.received = self.sent = 0
        self.tick = 0

    @property
    def limits(self) -> bool:
        """Whether it holds the connection to a rate."""
        return self._rate is not None

    def receive(self, data: bytes) -> None:
        """Hand data on to the plugin."""
        self._spoke = True
        self.received += len(data)
        self.moved = self._connection.connections.seconds()
        self._connection.deliver(data)
        if self._rate is not None:
            self._pay(len(data), self._rate)

    def write(self, data: bytes) -> None:
        """Hand data on to the transport. A plugin that answers has understood a first message."""
        if self.awaits_message and self._spoke:
            self._connection.first_message_received()
        self.sent += len(data)
        self.moved = self._connection.connections.seconds()
        self._connection.transport.write(data)
        if self._rate is not None:
            self._pay(len(data), self._rate)

    def _pay(self, size: int, rate: int) -> None:
        now = self._connection.connections.seconds()
        self._paid_until = max(self._paid_until, now) + size / rate
        ahead = self._paid_until - now
        if ahead <= BURST:
            return
        self.moved = self._paid_until - BURST  # who is held is not silent
        if not self._connection.held:
            self._connection.hold()
            self._connection.connections.deadlines.set(self, ahead - BURST)

    def deadline_passed(self) -> None:
        """It has waited long enough, unless more was written meanwhile."""
        ahead = self._paid_until - self._connection.connections.seconds()
        if ahead > BURST:
            self._connection.connections.deadlines.set(self, ahead - BURST)
        else:
            self._connection.let_go()
