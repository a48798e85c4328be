"""Output to a person, bounded while the peer does not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from sockd_plugins.chat.hub.events import Entered, Event, Said

MOST_WAITING = 65_536
"""Bytes for a peer that does not read, besides some 100 KiB in the kernel and the transport."""

STALL_SECONDS = 60.0
"""Seconds from the first event that is skipped until a peer that still does not read is given up."""


@dataclass(slots=True)
class Skipped:
    """Events of a room that a peer was not sent.

    Attributes:
        count: their number.
        since: number of the last message before the skipped ones; None if no message was skipped.
    """

    count: int = 0
    since: int | None = None


@implementer(IPushProducer)
class Backlog:
    """Output to one peer.

    Args:
        transport: the peer's.
        clock: of the service.
        describe: encodes what was skipped, by rooms; "" is for what is of no room.
        give_up: ends a person whose peer does not read.
    """

    __slots__ = (
        "_clock",
        "_describe",
        "_give_up",
        "_paused",
        "_resumed",
        "_size",
        "_skipped",
        "_stall",
        "_transport",
        "_waiting",
    )

    def __init__(
        self,
        transport: Any,
        clock: IReactorTime,
        describe: Callable[[Mapping[str, Skipped]], bytes],
        give_up: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._describe = describe
        self._give_up = give_up
        self._paused = False
        self._waiting: list[bytes] = []
        self._size = 0
        self._skipped: dict[str, Skipped] = {}
        self._stall: IDelayedCall | None = None
        self._resumed: list[Deferred[None]] = []
        transport.registerProducer(self, True)

    def send(self, data: bytes, events: Sequence[Event] = ()) -> None:
        """Send output, keep it while the peer does not read, or skip it.

        Args:
            data: encoded events, or something else that the peer is told.
            events: that `data` is for.
        """
        if not self._paused:
            self._transport.write(data)
        elif not self._skipped and self._size + len(data) <= MOST_WAITING:
            self._waiting.append(data)
            self._size += len(data)
        else:
            self._skip(events)

    async def until_read(self) -> None:
        """Wait while the peer does not read."""
        while self._paused:
            self._resumed.append(Deferred())
            await self._resumed[-1]

    def pauseProducing(self) -> None:
        """Keep output, because the peer does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send what was kept, because the peer reads again."""
        self._paused = False
        waiting, skipped = b"".join(self._waiting), self._skipped
        self._forget()
        if skipped:
            waiting += self._describe(skipped)
        if waiting:
            self._transport.write(waiting)
        self._wake()

    def stopProducing(self) -> None:
        """Do nothing: the loss of the connection follows."""

    def close(self) -> None:
        """Keep nothing any more."""
        self._paused = False
        self._forget()
        self._transport.unregisterProducer()
        self._wake()

    def _skip(self, events: Sequence[Event]) -> None:
        for event in events:
            room = getattr(event, "room", "")
            skipped = self._skipped.setdefault(room, Skipped())
            skipped.count += 1
            if skipped.since is None and (number := _first_number(event)):
                skipped.since = number - 1
        if not events:
            self._skipped.setdefault("", Skipped()).count += 1
        if self._stall is None:
            self._stall = self._clock.callLater(STALL_SECONDS, self._late)

    def _late(self) -> None:
        self._stall = None
        self._give_up()

    def _forget(self) -> None:
        self._waiting = []
        self._size = 0
        self._skipped = {}
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _wake(self) -> None:
        resumed, self._resumed = self._resumed, []
        for deferred in resumed:
            deferred.callback(None)


def _first_number(event: Event) -> int:
    """Return the number of the first message in an event; 0 if it has none."""
    if isinstance(event, Said):
        return event.number
    if isinstance(event, Entered) and event.recent:
        return event.recent[0].number
    return 0
