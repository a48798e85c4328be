"""Looks at each byte of a connection: where the kernel counts none, and where they are limited."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockd.stream.connection import Connection

BURST = 1.0
"""Seconds. What time has allowed is added when nothing is left, of so many at most; so a connection may be
ahead of its rate by twice that, and then has to wait."""


class Meter:
    """Stands between transport and plugin.

    The clock is looked at only when what the rate has allowed is used up.

    Attributes:
        send: the transport's `write`, for `write`.

    Args:
        connection: the one that it looks at.
        counts: whether nobody else knows how many bytes there were, and when the last one was.
        awaits_message: whether the peer has yet to make its first message complete.
    """

    __slots__ = (
        "_connection",
        "_counts",
        "_filled",
        "_left",
        "_rate",
        "awaits_message",
        "moved",
        "received",
        "send",
        "sent",
        "tick",
    )

    send: Callable[[bytes], None]

    def __init__(self, connection: Connection, *, counts: bool, awaits_message: bool) -> None:
        self._connection = connection
        self._counts = counts
        self.awaits_message = awaits_message
        self.moved = self._filled = connection.connections.seconds()
        self.received = self.sent = 0
        self.tick = 0
        self._rate = rate = connection.connections.limits.bytes_per_second  # both directions together
        self._left = 0.0 if rate is None else rate * BURST  # bytes that may move before the clock is asked

    @property
    def has_nothing_to_do(self) -> bool:
        """Whether the connection is as well without it."""
        return not (self._counts or self.awaits_message or self._rate is not None)

    def limits_changed(self) -> None:
        """Perhaps another rate holds from now on; what was allowed and forbidden is forgotten then."""
        rate = self._connection.connections.limits.bytes_per_second
        if rate == self._rate:
            return
        self._rate = rate
        self._left = 0.0 if rate is None else rate * BURST
        self._filled = self._connection.connections.seconds()
        self._connection.connections.deadlines.clear(self)
        if self._connection.held:
            self._let_go()

    def receive(self, data: bytes) -> None:
        """Hand data on to the plugin."""
        self.received += len(data)
        if self._counts:
            self.moved = self._connection.connections.seconds()
        self._connection.deliver(data)
        if self._rate is not None:
            self._left -= len(data)
            if self._left < 0:
                self._fill(self._rate)

    def write(self, data: bytes) -> None:
        """Hand data on to the transport."""
        self.send(data)
        self.wrote(len(data))

    def wrote(self, size: int) -> None:
        """So much was written. A plugin that answers has understood a first message."""
        if self.awaits_message and self.received:
            self._connection.first_message_received()
        self.sent += size
        if self._counts:
            self.moved = self._connection.connections.seconds()
        if self._rate is not None:
            self._left -= size
            if self._left < 0:
                self._fill(self._rate)

    def _fill(self, rate: int) -> None:
        """Add what time has allowed since; wait if it is not enough."""
        now = self._connection.connections.seconds()
        self._left = min(rate * BURST, self._left + (now - self._filled) * rate)
        self._filled = now
        if self._left < 0 and not self._connection.held:
            self._connection.hold()
            self._connection.connections.deadlines.set(self, -self._left / rate)

    def deadline_passed(self) -> None:
        """It has waited long enough, unless more was written meanwhile."""
        if self._rate is None:
            return
        self._fill(self._rate)
        if self._left < 0:
            self._connection.connections.deadlines.set(self, -self._left / self._rate)
        else:
            self._let_go()

    def _let_go(self) -> None:
        self.moved = self._connection.connections.seconds()  # who was held was not silent
        self._connection.let_go()
