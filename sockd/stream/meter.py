"""Meter of a connection's bytes: where the kernel counts none, and where they are limited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sockd.stream.context import StreamContext

BURST = 1.0
"""Seconds. What time has allowed is added when nothing is left, of so many at most; so a connection may be
ahead of its rate by twice that, and then has to wait."""


class Metered(Protocol):
    """Connection, as its meter sees it."""

    @property
    def context(self) -> StreamContext:
        """Context of its service."""

    @property
    def held(self) -> bool:
        """Return whether it has moved more than it may."""

    def deliver(self, data: bytes) -> None:
        """Hand data to the plugin."""

    def hold(self) -> None:
        """Let nothing pass, as it has moved more than it may."""

    def let_go(self) -> None:
        """Let data pass again."""

    def first_message_received(self) -> None:
        """End the wait for a first message."""


class Meter:
    """Meter between transport and plugin.

    The clock is looked at only when what the rate has allowed is used up.

    Args:
        connection: the one that it looks at.
        counts: whether nobody else knows how many bytes there were, and when the last one was.
        awaits_message: whether the peer has yet to make its first message complete.

    Attributes:
        needed: whether the connection is not as well without it.
        received: bytes from the peer.
        sent: bytes to it.
        moved: when a byte last moved or could have; seconds of the clock.
    """

    __slots__ = (
        *("_connection", "_counts", "_filled", "_left", "_rate", "_send", "awaits_message"),
        *("moved", "needed", "received", "sent", "tick"),
    )

    _send: Callable[[bytes], None]

    def __init__(self, connection: Metered, *, counts: bool, awaits_message: bool) -> None:
        context = connection.context
        self._connection = connection
        self._counts = counts
        self.awaits_message = awaits_message
        self.moved = self._filled = context.seconds()
        self.received = self.sent = 0
        self.tick = 0
        self._rate = rate = context.limits.bytes_per_second  # both directions together
        self._left = 0.0 if rate is None else rate * BURST  # bytes that may move before the clock is asked
        self.needed = counts or awaits_message or rate is not None

    def stand_before(self, send: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return a `write` that counts what it hands on to the transport's."""
        self._send = send
        return self.write

    def end_wait(self) -> None:
        """Wait for no first message any more."""
        self.awaits_message = False
        self.needed = self._counts or self._rate is not None

    def limits_changed(self) -> None:
        """Look at the rate anew. With another one, what was allowed and forbidden is forgotten."""
        context = self._connection.context
        rate = context.limits.bytes_per_second
        if rate == self._rate:
            return
        self._rate = rate
        self.needed = self._counts or self.awaits_message or rate is not None
        self._left = 0.0 if rate is None else rate * BURST
        self._filled = context.seconds()
        context.deadlines.clear(self)
        if self._connection.held:
            self._let_go()

    def receive(self, data: bytes) -> None:
        """Hand data on to the plugin."""
        self.received += len(data)
        if self._counts:
            self.moved = self._connection.context.seconds()
        self._connection.deliver(data)
        if self._rate is not None:
            self._left -= len(data)
            if self._left < 0:
                self._fill(self._rate)

    def write(self, data: bytes) -> None:
        """Hand data on to the transport."""
        self._send(data)
        self.wrote(len(data))

    def wrote(self, size: int) -> None:
        """Count bytes that were written. A plugin that answers has understood a first message."""
        if self.awaits_message and self.received:
            self._connection.first_message_received()
        self.sent += size
        if self._counts:
            self.moved = self._connection.context.seconds()
        if self._rate is not None:
            self._left -= size
            if self._left < 0:
                self._fill(self._rate)

    def _fill(self, rate: int) -> None:
        """Add what time has allowed since; hold the connection if it is not enough."""
        context = self._connection.context
        now = context.seconds()
        self._left = min(rate * BURST, self._left + (now - self._filled) * rate)
        self._filled = now
        if self._left < 0 and not self._connection.held:
            self._connection.hold()
            context.deadlines.set(self, -self._left / rate)

    def deadline_passed(self) -> None:
        """Let the connection go, unless more was written meanwhile."""
        if self._rate is None:
            return
        self._fill(self._rate)
        if self._left < 0:
            self._connection.context.deadlines.set(self, -self._left / self._rate)
        else:
            self._let_go()

    def _let_go(self) -> None:
        self.moved = self._connection.context.seconds()  # a connection that was held was not silent
        self._connection.let_go()
