"""Output to one client, bounded while the client does not read.

Up to `MAX_WAITING` bytes are kept. Beyond that messages to rooms are skipped and counted, and the client is
told once it reads again. Everything else is kept, so that the client still knows who is where; a client for
whom that becomes too much, or who reads nothing for long, is ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, IReactorTime, ITransport
from zope.interface import implementer

from sockd_plugins.chat.hub.batch import Batch, Form
from sockd_plugins.chat.hub.events import Said

MAX_WAITING = 65_536
"""Bytes kept for a client that does not read, besides some 100 KiB in the kernel and the transport."""

MAX_WAITING_EVENTS = 262_144
"""Bytes kept where the rest of it are no messages to rooms."""

MAX_STALL = 60.0
"""Seconds from the first skipped message until a client that still does not read is ended."""


@dataclass(slots=True)
class Skipped:
    """Messages of a room that were skipped: how many, and the number of the first."""

    first: int
    count: int = 0


class Reader(Protocol):
    """Client, as far as its output needs it."""

    def tell_skipped(self, room: str, skipped: Skipped) -> None:
        """Tell the client, which reads again, how much of a room it has missed."""

    def end(self, reason: str) -> None:
        """End the client."""


@implementer(IPushProducer)
class Output:
    """Way to one client.

    Args:
        transport: the connection's.
        clock: for the time that a client may read nothing.
        reader: the client.
    """

    __slots__ = (
        "_clock",
        "_kept",
        "_paused",
        "_reader",
        "_size",
        "_skipped",
        "_stall",
        "_transport",
    )

    def __init__(
        self,
        transport: ITransport,
        clock: IReactorTime,
        reader: Reader,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._reader = reader
        self._paused = False
        self._kept: list[bytes] = []
        self._size = 0
        self._skipped: dict[str, Skipped] = {}
        self._stall: IDelayedCall | None = None
        IConsumer(transport).registerProducer(self, True)

    def send(self, data: bytes) -> None:
        """Send lines."""
        if not self._paused:
            self._transport.write(data)
        else:
            self._keep(data)

    def send_events(self, batch: Batch, form: Form) -> None:
        """Send events in a form."""
        data = batch.encoded(form)
        if not data:
            return
        if not self._paused:
            self._transport.write(data)
            return
        if not self._skipped and self._size + len(data) <= MAX_WAITING:
            self._keep(data)
            return
        for event in batch.events:
            if isinstance(event, Said):
                self._skip(event)
            elif data := form(event):
                self._keep(data)

    def close(self) -> None:
        """Forget what is kept, and close the connection once the rest is sent."""
        self.forget()
        IConsumer(self._transport).unregisterProducer()
        self._transport.loseConnection()

    def forget(self) -> None:
        """Forget what is kept."""
        self._kept.clear()
        self._size = 0
        self._skipped.clear()
        self._paused = False
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def pauseProducing(self) -> None:
        """Keep what comes, because the client does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send what was kept, because the client reads again."""
        kept, skipped = b"".join(self._kept), dict(self._skipped)
        self.forget()
        if kept:
            self._transport.write(kept)
        for room, missed in skipped.items():
            self._reader.tell_skipped(room, missed)

    def stopProducing(self) -> None:
        """Do nothing: the protocol is told of the lost connection."""

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._size += len(data)
        if self._size > MAX_WAITING_EVENTS:
            self._reader.end("too slow: too much waits for you")

    def _skip(self, said: Said) -> None:
        missed = self._skipped.get(said.room)
        if missed is None:
            missed = self._skipped[said.room] = Skipped(said.number)
        missed.count += 1
        if self._stall is None:
            self._stall = self._clock.callLater(MAX_STALL, self._end_stalled)

    def _end_stalled(self) -> None:
        self._stall = None
        self._reader.end(f"too slow: you have read nothing for {MAX_STALL:g} seconds")
