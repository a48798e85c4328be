"""Subscription to a subject of the stream: older entries first, then those that come, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sockd.broker.contract import Draft, Entry, Receiver
from sockd.broker.nats.log import Log
from sockd.broker.scope import Fault


class LogSubject:
    """Subscription to a subject of the stream.

    Args:
        log: the subject.
        receiver: takes its entries.
        after: number of the last entry that is known; None to begin at the end.
        fault: called for exceptions of the receiver.
        ended: called when the subscription is closed.

    Attributes:
        number: number of the last entry that the receiver has got.
        catching_up: whether older entries are still being read.
    """

    def __init__(
        self, log: Log, receiver: Receiver, after: int | None, fault: Fault, ended: Callable[[], None]
    ) -> None:
        self.number = after or 0
        self.catching_up = after is not None
        self._first = after or 0
        self._begun = after is not None  # whether its number is known
        self._log = log
        self._receiver = receiver
        self._fault = fault
        self._ended = ended
        self._seq = 0  # place of the last batch that it has got, or began behind
        self._waiting: list[tuple[int, Sequence[Entry]]] = []  # while it catches up
        log.subscribe(self)

    def publish(self, drafts: Sequence[Draft]) -> None:
        """Publish drafts."""
        if drafts:
            self._log.publish(drafts)

    async def latest(self, limit: int) -> tuple[int, tuple[Entry, ...]]:
        """Return the number behind which the receiver has begun, and the last entries up to it."""
        await self._log.end_known()
        first = self._first
        entries = await self._log.since(max(0, first - limit), limit) if first and limit else ()
        return first, tuple(each for each in entries if each.number <= first)

    async def since(self, number: int, limit: int) -> tuple[Entry, ...]:
        """Return the first entries behind a number that are kept."""
        return await self._log.since(number, limit)

    def close(self) -> None:
        """End the subscription."""
        if self in self._log.subscribers:
            self._log.subscribers.remove(self)
            self._ended()

    # From the log.

    def begin(self, seq: int, number: int) -> None:
        """Take note of the end of the subject, behind which a newcomer begins."""
        if not self._begun:
            self._begun = True
            if not self._seq:  # else something has come already
                self._seq, self.number, self._first = seq, number, number

    def behind(self) -> None:
        """Read again what may not have come."""
        if self._begun:
            self.catching_up = True
            self._seq = 0

    def take(self, seq: int, entries: Sequence[Entry]) -> None:
        """Take the entries of a batch that has just come."""
        if self.catching_up:
            self._waiting.append((seq, entries))
        elif seq > self._seq:
            self._hand(seq, entries)

    def catch_up(self, seq: int, entries: Sequence[Entry]) -> None:
        """Take the entries of an older batch."""
        self._hand(seq, entries)

    def caught_up(self, end: int) -> None:
        """Go on with what has come meanwhile behind a place."""
        self.catching_up = False
        self._seq = max(self._seq, end)
        waiting, self._waiting = self._waiting, []
        for seq, entries in waiting:
            self.take(seq, entries)

    def _hand(self, seq: int, entries: Sequence[Entry]) -> None:
        self._seq = seq
        if self._begun:
            entries = [each for each in entries if each.number > self.number or not each.numbered]
        first = next((each.number for each in entries if each.numbered), None)
        if first is not None and self._begun and first > self.number + 1:
            missed = self.number + 1
            self._call(lambda: self._receiver.miss(missed, first - 1))
        if entries and self._log.has(self):
            self.number = max(self.number, entries[-1].number)
            self._call(lambda: self._receiver.take(entries))

    def _call(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # a plugin may raise anything, and the others get theirs
            self._fault()
