"""Subject of a stream: what is published gets its numbers, and what is delivered gets to the subscribers.

A batch proposes its numbers: those behind the last batch of its subject, whose place in the stream it names.
The servers store it only if that is still the last one. If another machine was first, its batch arrives here
too; then this one is numbered anew and tried again. A try whose answer was lost is repeated under the same
condition, so it is refused if the first one was stored, and that one arrives. Each batch is stored exactly
once, and the numbers have no gap.

Whoever has a long way to the servers would always be late in a busy subject. So after some tries it asks for
its turn, by a message that names no place and is always stored. The others then wait for its batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from sockd.broker.batches import Batch, encode
from sockd.broker.contract import BrokerAway, BrokerFull, Draft, Entry, check_data
from sockd.broker.nats.jetstream import ANSWER, JetStreamRefused, Stored, Stream, refusal_of
from sockd.broker.nats.line import AGAIN, Line, tell_turn
from sockd.broker.nats.older import batch_of, read_behind

MOST_TOGETHER = 256
"""Entries in a batch that is published."""

MOST_BATCH = 256 * 1024
"""Bytes in a batch, but for one large entry; servers take messages of 1 MiB unless told otherwise."""

MOST_WAITING = 4096
"""Entries of a subject that may wait to be published: some seconds of a very lively room."""

MOST_WAITING_BYTES = 4 * 2**20
"""Bytes of a subject that may wait."""

LATE = 3
"""Tries that came too late, after which a batch asks for its turn."""

MOST_TURNS = 64
"""Processes that may wait for their turn; more do not share a stream."""

TURN = 0.5
"""Seconds that others wait for one whose turn it is, which may be gone."""

FIRST_OVERDUE = 1.0
"""Seconds until a batch is tried again for which another one was first that has not come yet."""


class Subscriber(Protocol):
    """Subscription of this process to a subject.

    Attributes:
        number: number of the last entry that its receiver has got.
        catching_up: whether older entries are still being read.
    """

    number: int
    catching_up: bool

    def begin(self, seq: int, number: int) -> None:
        """Take note of the end of the subject, behind which a newcomer begins."""

    def behind(self) -> None:
        """Read again what may not have come."""

    def take(self, seq: int, entries: Sequence[Entry]) -> None:
        """Take the entries of a batch that has just come."""

    def catch_up(self, seq: int, entries: Sequence[Entry]) -> None:
        """Take the entries of an older batch."""

    def caught_up(self, end: int) -> None:
        """Go on with what has come meanwhile behind a place."""


@dataclass(eq=False, slots=True)
class _Flight:
    """Batch on its way.

    Attributes:
        count: its number among those of this process.
        drafts: its entries.
        at: time of publication.
        expected: place of the batch behind which the last try was numbered.
        tries: number of tries.
        late: number of tries for which another batch was first.
        held: whether the next try waits for one whose turn it is.
        waits_for: place of the batch that was first; None while an answer is awaited.
    """

    count: int
    drafts: list[Draft]
    at: float
    expected: int = 0
    tries: int = 0
    late: int = 0
    held: bool = False
    waits_for: int | None = None


class Log:
    """Subject of the stream, for all subscribers in this process.

    Args:
        line: way to the stream.
        subject: its subject there.
        clock: for what is tried again.

    Attributes:
        stuck: reason for which the servers refuse to store the next batch, such as a full stream; empty
            while they do not.
    """

    def __init__(self, line: Line, subject: str, clock: IReactorTime) -> None:
        self.subject = subject
        self.subscribers: list[Subscriber] = []
        self.stuck = ""
        self._line = line
        self._clock = clock
        self._known = False  # whether the end of the subject is known
        self._seq = 0  # place of the last batch, and the number with which it ends
        self._number = 0
        self._least = 0  # number up to which the subject was numbered in an earlier stream
        self._drafts: deque[Draft] = deque()
        self._waiting_bytes = 0
        self._flight: _Flight | None = None
        self._later: IDelayedCall | None = None
        self._turns: list[str] = []  # processes that have asked for their turn, the first one first
        self._looking = False
        self._asking: list[Deferred[None]] = []  # questions that wait for the end of the subject

    def has(self, subscriber: Subscriber) -> bool:
        """Tell whether a subscriber has not ended meanwhile."""
        return subscriber in self.subscribers

    @property
    def busy(self) -> bool:
        """Tell whether something waits to be stored."""
        return bool(self._drafts or self._flight)

    # From the stream.

    def take(self, stored: Stored) -> None:
        """Take the next message of the subject."""
        batch = batch_of(stored)
        flight = self._flight
        self._reach(stored.seq, batch.last if batch is not None else self._number)
        if flight is not None:
            if batch is not None and self._is_own(batch, flight):
                self._landed()
            elif flight.waits_for is not None and self._seq >= flight.waits_for:
                self._try()
        if batch is not None:
            for each in tuple(self.subscribers):
                each.take(stored.seq, batch.entries)
            self.end_turn(batch.origin)

    def take_turn(self, origin: str) -> None:
        """Let a process be first that has come too late for some times."""
        if origin == self._line.origin and not self.busy and self._line.stream is not None:
            tell_turn(self._line.stream, self.subject, origin, wanted=False)  # its batch was in time
        elif origin not in self._turns and len(self._turns) < MOST_TURNS:
            self._turns.append(origin)
            self._clock.callLater(TURN * len(self._turns), self.end_turn, origin)

    def end_turn(self, origin: str) -> None:
        """Go on: a process whose turn it was has published, or does not want to any more."""
        if origin in self._turns:
            self._turns.remove(origin)
            flight = self._flight
            if flight is None or flight.held or flight.waits_for is not None:
                self._try()

    def _is_own(self, batch: Batch, flight: _Flight) -> bool:
        return (batch.origin, batch.count) == (self._line.origin, flight.count)

    def _reach(self, seq: int, number: int) -> None:
        if seq > self._seq:
            self._seq, self._number = seq, max(number, self._number)

    def resume(self, *, lost: bool) -> None:
        """Go on over a new connection.

        Args:
            lost: whether messages may not have come that are in the stream, or the stream is another one.
        """
        self._turns.clear()
        if lost:
            self._known, self._seq = False, 0
            self._least, self._number = max(self._least, self._number), 0
            for each in self.subscribers:
                each.behind()
        self._look()
        if self._known:
            self._try()

    def _look(self) -> None:
        """Find the end of the subject, if it is not known, and have subscribers catch up."""
        if not self._looking and self._line.stream is not None:
            self._looking = True
            Deferred.fromCoroutine(self._look_up(self._line.stream)).addBoth(self._looked)

    async def _look_up(self, stream: Stream) -> None:
        if not self._known:
            last = await stream.last(self.subject)
            batch = batch_of(last) if last is not None else None
            if last is not None:
                self._reach(last.seq, batch.last if batch is not None else 0)
            self._known = True
            self._floor(batch)
            for each in self.subscribers:
                each.begin(self._seq, self._number)
            asking, self._asking = self._asking, []
            for known in asking:
                known.callback(None)
            self._try()
        for each in tuple(self.subscribers):
            if each.catching_up:
                end = self._seq
                async for stored, batch in self._behind(stream, each.number, end):
                    each.catch_up(stored.seq, batch.entries)
                each.caught_up(end)

    def _floor(self, last: Batch | None) -> None:
        """Go on behind the highest number that a subscriber knows, and tell others about it.

        Only a stream that was emptied, or has just been made, knows less than a subscriber.
        """
        flight = self._flight
        if flight is not None and last is not None and self._is_own(last, flight):
            self._flight = None
        known = max(self._least, *(each.number for each in self.subscribers), 0)
        if known > self._number:
            self._number = known
            if self._flight is None:  # else the batch that is on its way tells
                self._flight = _Flight(self._line.count(), [], self._line.now())

    def _looked(self, result: object) -> None:
        self._looking = False
        if isinstance(result, Failure):
            result.trap(BrokerAway)
            self._clock.callLater(AGAIN, self._look_again)
        elif any(each.catching_up for each in self.subscribers):
            self._look()

    def _look_again(self) -> None:
        if self.subscribers:
            self._look()

    def _behind(self, stream: Stream, number: int, end: int) -> AsyncIterator[tuple[Stored, Batch]]:
        return read_behind(stream, self.subject, number, end if number < self._number else 0, self._clock)

    async def since(self, number: int, limit: int) -> tuple[Entry, ...]:
        """Return numbered entries behind a number."""
        stream = self._line.stream
        if stream is None:
            raise BrokerAway(self._line.away or "the broker has just gone")
        await self.end_known()
        entries: list[Entry] = []
        async for _, batch in self._behind(stream, number, self._seq):
            entries += [each for each in batch.entries if each.numbered and each.number > number]
            if len(entries) >= limit:
                break
        return tuple(entries[:limit])

    async def end_known(self) -> None:
        """Wait until the end of the subject is known.

        Raises:
            BrokerAway: that takes too long.
        """
        if self._known:
            return
        known: Deferred[None] = Deferred()
        self._asking.append(known)
        try:
            await known.addTimeout(ANSWER, self._clock)
        except TimedOut as error:
            self._asking = [each for each in self._asking if each is not known]
            raise BrokerAway(self._line.away or "the broker does not answer") from error

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add a subscriber."""
        self.subscribers.append(subscriber)
        if self._known:
            self._floor(None)
            subscriber.begin(self._seq, self._number)
            self._try()
        self._look()

    # To the stream.

    def publish(self, drafts: Sequence[Draft]) -> None:
        """Publish drafts; raises as `Subject.publish`."""
        if self._line.away:
            raise BrokerAway(self._line.away)
        size = sum(len(check_data(draft.data)) for draft in drafts)
        if len(self._drafts) + len(drafts) > MOST_WAITING or self._waiting_bytes + size > MOST_WAITING_BYTES:
            raise BrokerFull(f"{len(self._drafts)} entries wait for the broker already")
        self._drafts.extend(drafts)
        self._waiting_bytes += size
        self._try()

    def _try(self) -> None:
        """Publish the batch that is on its way once more, or the next one."""
        stream = self._line.stream
        if stream is None or not self._known:
            return
        flight = self._flight
        if self._turns[:1] not in ([], [self._line.origin]):
            if flight is not None:
                flight.held = True
            return
        if flight is None:
            if not self._drafts:
                return
            flight = self._flight = _Flight(self._line.count(), list(self._next()), self._line.now())
        if self._later is not None:
            self._later.cancel()
            self._later = None
        flight.expected, flight.waits_for, flight.held = self._seq, None, False
        flight.tries += 1
        data = encode(self._line.origin, flight.count, self._number + 1, flight.at, flight.drafts)
        answer = stream.publish(self.subject, data, self._seq)
        answer.addCallbacks(
            self._answered,
            self._refused,
            callbackArgs=(flight, flight.tries),
            errbackArgs=(flight, flight.tries),
        )

    def _next(self) -> Iterator[Draft]:
        """Yield the drafts of the next batch."""
        size = 0
        for _ in range(min(len(self._drafts), MOST_TOGETHER)):
            length = len(self._drafts[0].data)
            if size and size + length > MOST_BATCH:
                return
            size += length
            self._waiting_bytes -= length
            yield self._drafts.popleft()

    def _landed(self) -> None:
        """Go on with the next batch: this one is stored."""
        self._flight = None
        self.stuck = ""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._try()

    def _answered(self, seq: int, flight: _Flight, tries: int) -> None:  # noqa: ARG002  # as the refusal has it
        if self._flight is flight:
            if seq > self._seq:
                self._reach(seq, self._number + sum(draft.numbered for draft in flight.drafts))
            self._landed()

    def _refused(self, failure: Failure, flight: _Flight, tries: int) -> None:
        if self._flight is not flight or flight.tries != tries:
            return  # it was stored, or tried again
        wait = AGAIN
        refusal = refusal_of(failure)
        if refusal is not None:
            last = refusal.last
            if last == 0:
                self._seq = 0  # the subject was emptied from outside
            flight.waits_for = flight.expected + 1 if last is None else last
            flight.late += 1
            asked = self._line.origin in self._turns
            if flight.late % LATE == 0 and self._line.stream is not None and not asked:
                tell_turn(self._line.stream, self.subject, self._line.origin, wanted=True)
            if self._seq >= flight.waits_for and self._seq != flight.expected:
                self._try()
                return
            wait = FIRST_OVERDUE  # the one that was first is on its way here
        else:
            self.stuck = str(failure.value) if isinstance(failure.value, JetStreamRefused) else ""
            self._line.doubt()
        if self._later is None:
            self._later = self._clock.callLater(wait, self._try_later)

    def _try_later(self) -> None:
        self._later = None
        if self._flight is not None:
            self._try()
