"""Connection as a conversation: the code awaits what the peer sends instead of being called back.

While the conversation waits for the disk, as many bytes are kept as it read last; then the peer is paused.
All peers are paused while they have more in memory together than they may (`buffers.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import Context, takes_at_once
from sockd_plugins.files.storage.engine import LEAST_WINDOW
from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.stream.alarm import Alarm
from sockd_plugins.files.stream.answers import log_refusal
from sockd_plugins.files.stream.buffers import Buffers
from sockd_plugins.files.stream.inbox import Inbox
from sockd_plugins.files.stream.intake import Intake
from sockd_plugins.files.stream.output import Output
from sockd_plugins.files.stream.pace import Pace

_LINGER = 10.0
"""Seconds that a refused peer has to end what it sends. An earlier close would reset the connection, and
the peer would lose the answer with the reason."""

_LAST_CALL = 1.0
"""Seconds from the beginning of a drain in which a peer may still begin a file: it may have connected, or be
about to send the next one, in this moment."""


class Gone(Exception):
    """Loss of the connection before the peer had ended its data."""


Talk = Callable[["Peer"], Coroutine[Deferred[Any], Any, None]]


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """Connection of one peer, closed when `talk` returns. If it raises `FileRefused`, the peer is told first.

    Args:
        talk: the conversation.
        context: the service's.
        buffers: the memory that all peers of the service share.
        min_rate: bytes a second below which an upload is ended after a while; 0 for no bound.

    Attributes:
        context: the service's.
        host: address of the peer; "-" if it has none.
        ended: fires when the conversation is over and nothing of it waits for the disk any more.
    """

    transport: Any  # the shell's: an ITCPTransport and a push producer
    _intake: Intake  # set by `connectionMade`

    def __init__(self, talk: Talk, context: Context, buffers: Buffers, min_rate: int = 0) -> None:
        self.ended: Deferred[None] = Deferred()
        self.host = "-"
        self._talk = talk
        self.context = context
        self._buffers = buffers
        self._pace = Pace(context.clock, min_rate)
        self._alarm = Alarm(context.clock, self._wake)
        self._wanted = 1  # bytes to wait for
        self._unread = Inbox()
        self._lent = 0  # bytes that the conversation has taken last, and works on
        self._waiting: Deferred[None] | None = None
        self._finished = False  # the peer has ended its side
        self._lost = False  # the connection is lost
        self._last_call: float | None = None  # time until which a file may begin, once the service drains
        self._refused = False
        self._output: Output | None = None
        self._interruption: FileRefused | None = None

    async def line(self, limit: int, *, first: bool = False) -> bytes | None:
        """Return the next line without its end; None if the peer has ended its side.

        Args:
            limit: bytes of the line at most.
            first: whether the line begins a file; then the result is also None soon after the service drains.
        """
        self.hold(0)
        self._intake.expect(0)
        while (end := self._unread.head(limit + 1).find(b"\n")) < 0:
            if len(self._unread) > limit:
                raise FileRefused("bad-request", f"expected a line of at most {limit} bytes, found more")
            if first and not self._unread:  # between two files a peer may wait
                if not await self._another():
                    return None
                continue
            if not await self._more_in_time(len(self._unread) + 1):
                if self._unread:
                    raise FileRefused("incomplete", "the line has no end")
                return None
        return b"".join(self._take(end + 1)).removesuffix(b"\n").removesuffix(b"\r")

    async def _another(self) -> bool:
        """Wait for another file, or for another event; return False if no file can begin any more."""
        if self._last_call is None:
            return await self._more()
        if (left := self._last_call - self.context.clock.seconds()) <= 0:
            return False
        with suppress(TimedOut):
            return await Deferred.fromCoroutine(self._more()).addTimeout(left, self.context.clock)
        return False

    async def read(self, size: int, within: float | None = None) -> list[Piece]:
        """Return the next bytes: at most `size`, and none only if the peer has ended its side.

        Fewer than `size` are returned at the end, while memory is short, and when time is up. When the
        connection breaks, what had arrived is returned first.

        Args:
            size: bytes.
            within: seconds after which fewer are returned, but at least one; None to wait for all.
        """
        self.hold(0)
        self._intake.expect(size)
        self.read_ahead(max(size, LEAST_WINDOW))
        end = None if within is None else self.context.clock.seconds() + within
        while len(self._unread) < size and not ((self._buffers.short or self._lost) and self._unread):
            if end is None or not self._unread:
                go_on = await self._more_in_time(size if end is None else 1)
            elif (left := end - self.context.clock.seconds()) > 0:
                go_on = await self._more_in_time(size, left)
            else:
                break
            if not go_on:
                break
        if len(self._unread) < size:
            self._intake.rest()
        return self._take(self._intake.portion(size))

    async def some(
        self, size: int, within: float | None = None, *, more: bool = False, patient: bool = False
    ) -> list[Piece] | None:
        """Return the bytes that are there, at most `size`; wait for the first of them.

        Args:
            size: bytes.
            within: seconds to wait; None for any time.
            more: whether the bytes of the last call are still in memory, and these come in addition.
            patient: whether to wait even if memory is short, as nothing can be freed.

        Returns:
            Bytes; none if the peer has ended its side, None if time is up, or memory is short and `more` set.
        """
        if not more:
            self.hold(0)
        self.read_ahead(max(size, LEAST_WINDOW))
        end = None if within is None else self.context.clock.seconds() + within
        while not self._unread:
            left = None if end is None else end - self.context.clock.seconds()
            if (left is not None and left <= 0) or (more and not patient and self._buffers.short):
                return None
            if not await self._more_in_time(1, left):
                return []
        return self._take(size)

    def hold(self, size: int) -> None:
        """Free the memory of the bytes that were taken, but for so many that are still in use."""
        freed, self._lent = max(self._lent - size, 0), min(size, self._lent)
        self._buffers.free(freed)

    async def peek(self, most: int) -> bytes:
        """Wait for what begins a file, as `line` does; return its first bytes, without taking them.

        Fewer than `most` bytes may be there; none if the peer has ended its side, or the service drains.
        """
        self.hold(0)
        self._intake.expect(0)
        while not self._unread and await self._another():
            pass
        return self._unread.head(most)

    def unread(self, most: int) -> bytes:
        """Return the first bytes that have come and were not taken."""
        return self._unread.head(most)

    @property
    def waiting(self) -> int:
        """Number of bytes that have come and were not taken."""
        return len(self._unread)

    def read_ahead(self, size: int) -> None:
        """Keep so many bytes while the conversation is busy, before the peer is paused."""
        self._intake.window = size
        if self._intake.paused:
            self._regulate_reading()

    def put_back(self, pieces: Sequence[Piece]) -> None:
        """Leave bytes that were read, and were too many, to the next read."""
        for piece in reversed(pieces):
            self._unread.prepend(piece)
            self._lent -= len(piece)

    async def more(self, within: float | None = None) -> bool:
        """Wait until more bytes have come than there are now; return False if none can come, or time is up.

        Args:
            within: seconds to wait; None for any time.
        """
        had = len(self._unread)
        end = None if within is None else self.context.clock.seconds() + within
        while len(self._unread) == had:
            left = None if end is None else end - self.context.clock.seconds()
            if (left is not None and left <= 0) or not await self._more_in_time(had + 1, left):
                return False
        return True

    def say(self, line: str) -> None:
        """Send a line, unless the connection is lost."""
        self.write(line.encode() + b"\n")

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is lost."""
        if not self._lost:
            self.transport.write(data)

    async def send(self, chunks: AsyncIterator[bytes]) -> None:
        """Send bytes as the peer takes them.

        Raises:
            Gone: the connection broke.
        """
        if self._lost:
            raise Gone
        self._output = output = Output(self.transport)
        try:
            if not await output.send_all(chunks):
                raise Gone
        finally:
            self._output = None
            output.close()

    def interrupt(self, why: FileRefused | None = None) -> None:
        """End the conversation, where it waits for the peer next; by default its upload was taken over."""
        self._interruption = why or FileRefused("taken", "another connection goes on with this upload")
        self._wake()

    def drain(self) -> None:
        """Accept no further file, but for those that begin within a moment."""
        self._last_call = self.context.clock.seconds() + _LAST_CALL
        self._wake()

    @property
    def clock(self) -> IReactorTime:
        """Clock of the service."""
        return self.context.clock

    @override
    def connectionMade(self) -> None:
        takes_at_once(self.transport)
        self._intake = Intake(self.transport, self._buffers.pool, self._unread, self._arrived)
        self.host = getattr(self.transport.getPeer(), "host", "-")
        self._buffers.holders.add(self)
        self._buffers.go_on()
        self._regulate_reading()
        Deferred.fromCoroutine(self._converse()).addErrback(self._broken).addCallback(self._end)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        self._unread.append(data)
        self._arrived(len(data))

    def _arrived(self, size: int) -> None:
        self._buffers.add(size)
        self._pace.count(size)
        if self._pace.too_slow or len(self._unread) >= self._wanted:
            self._wake()
        if len(self._unread) >= self._intake.window:
            self._regulate_reading()

    def regulate(self) -> None:
        """Implement `Holder.regulate`."""
        if self._buffers.short and (self._unread or self._lent):
            self._wake()
        self._regulate_reading()

    def readConnectionLost(self) -> None:
        """Note that the peer has sent everything."""
        self._finished = True
        self._wake()

    def writeConnectionLost(self) -> None:
        """Do nothing: the peer's side goes on."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._output is not None:
            self._output.stopProducing()
        self._wake()

    async def _converse(self) -> None:
        try:
            await self._talk(self)
        except Gone:
            self.context.logger.debug("connection broken", peer=self.host)
        except FileRefused as refused:
            log_refusal(self, refused)
            self.say(f"error {refused.code} {refused}")
            await self.linger()
        if not self._lost:
            self.transport.loseConnection()

    async def linger(self, within: float = _LINGER) -> None:
        """Let the peer read a refusal: end our side, and drop what comes within so many seconds."""
        self._refused = True
        self._interruption = None
        self._drop_unread()
        if not self._lost:
            self.transport.loseWriteConnection()
            with suppress(Gone, TimedOut):
                await Deferred.fromCoroutine(self._more()).addTimeout(within, self.context.clock)

    def _drop_unread(self) -> None:
        self._intake.end()
        self._take(len(self._unread))
        self.hold(0)

    def _take(self, limit: int) -> list[Piece]:
        had = len(self._unread)
        taken = self._unread.take(limit)
        self._lent += had - len(self._unread)
        if self._intake.paused:
            self._regulate_reading()
        return taken

    def _regulate_reading(self) -> None:
        if not self._lost:
            self._intake.regulate(short=self._buffers.short and not self._refused)

    async def _more(self, wanted: int = 1) -> bool:
        """Wait until so many bytes are unread, or for another event; return False if no event can come."""
        self._check_interruption()
        if self._finished:
            return False
        if self._lost:
            raise Gone
        self._waiting = Deferred()
        self._wanted = wanted
        self._buffers.wait()
        try:
            await self._waiting
        finally:
            self._buffers.go_on()
        self._check_interruption()
        return True

    def _check_interruption(self) -> None:
        interruption, self._interruption = self._interruption, None
        if interruption is not None:
            raise interruption

    async def _more_in_time(self, wanted: int, within: float | None = None) -> bool:
        """Wait as `_more`, at most so many seconds; refuse a peer that has sent too slowly for too long."""
        self._pace.begin()
        if within is not None:
            self._alarm.set(within)
        try:
            return await self._more(wanted)
        finally:
            self._alarm.clear()
            self._pace.count(0)
            self._pace.end()
            if self._pace.too_slow:
                raise FileRefused("too-slow", f"expected at least {self._pace.rate} bytes a second")

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _broken(self, failure: Failure) -> None:
        self.context.logger.failure("plugin fault", failure, peer=self.host)
        if not self._lost:
            self.transport.abortConnection()

    def _end(self, _: object) -> None:
        self._refused = True
        self._alarm.stop()
        self._drop_unread()
        self._buffers.holders.discard(self)
        self._buffers.wait()
        self.ended.callback(None)
