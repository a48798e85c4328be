"""Sending side of a connection, for more bytes than the peer takes at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Output:
    """Producer that waits while the peer leaves its output unread.

    Args:
        transport: the connection, which has no other producer.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._full: Deferred[None] | None = None
        self._stopped = False
        transport.registerProducer(self, True)

    async def send(self, data: bytes) -> bool:
        """Send bytes, and wait until more may be sent; return False if the connection is lost."""
        if not self._stopped:
            self._transport.write(data)
            if self._full is not None:
                await self._full
        return not self._stopped

    async def send_all(self, chunks: AsyncIterator[bytes]) -> bool:
        """Send chunks as the peer takes them; return False if the connection is lost."""
        async for chunk in chunks:
            if not await self.send(chunk):
                return False
        return True

    def close(self) -> None:
        """Send the rest without a wait."""
        if not self._stopped:
            self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Wait from now on."""
        if self._full is None:
            self._full = Deferred()

    def resumeProducing(self) -> None:
        """Go on."""
        full, self._full = self._full, None
        if full is not None:
            full.callback(None)

    def stopProducing(self) -> None:
        """Give up: the connection is lost."""
        self._stopped = True
        self.resumeProducing()
