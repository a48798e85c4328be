"""A connection as a conversation: what the peer sends is awaited instead of called back.

While the conversation is busy with the disk, up to `BATCH` bytes are kept; then the peer is paused.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import Context
from sockd_plugins.files.upload import Refused, Stored

BATCH = 1 << 20
"""Bytes for one piece of work: many enough that the change of threads costs nothing beside the disk."""

_LINGER = 10.0
"""Seconds that a refused peer has to end what it sends. Closing earlier would reset the connection, and
the peer would lose the answer that tells it why."""


class Gone(Exception):
    """The connection broke before the peer had ended what it was sending."""


Talk = Callable[["Peer"], Coroutine[Deferred[Any], Any, None]]


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """One peer. When `talk` returns the connection is closed; when it raises `Refused` the peer is told.

    Attributes:
        ended: fires when the conversation is over and nothing of it waits for the disk any more.
    """

    transport: Any  # the shell's: an ITCPTransport that is a push producer too

    def __init__(self, talk: Talk, context: Context, peers: set[Peer]) -> None:
        self.ended: Deferred[None] = Deferred()
        self._talk = talk
        self._context = context
        self._peers = peers
        self._unread = bytearray()
        self._waiting: Deferred[None] | None = None
        self._paused = False
        self._finished = False  # the peer has ended its side
        self._lost = False  # there is no connection any more
        self._draining = False
        self._refused = False

    async def line(self, limit: int, *, first: bool = False) -> bytes | None:
        """The next line without its end; None if the peer ended its side instead.

        Args:
            limit: how many bytes it may have.
            first: whether it begins a file; then it is also None when the service drains.
        """
        while (end := self._unread.find(b"\n", 0, limit + 1)) < 0:
            if len(self._unread) > limit:
                raise Refused("bad-request", f"expected a line of at most {limit} bytes, found more")
            if first and self._draining and not self._unread:
                return None
            if not await self._more():
                if self._unread:
                    raise Refused("incomplete", "the line has no end")
                return None
        return bytes(self._take(end + 1)).removesuffix(b"\n").removesuffix(b"\r")

    async def read(self, size: int) -> bytearray:
        """The next bytes: `size` of them, or fewer if the peer ended its side before."""
        while len(self._unread) < size and await self._more():
            pass
        return self._take(size)

    def say(self, line: str) -> None:
        """Send a line, if anybody is there."""
        if not self._lost:
            self.transport.write(line.encode() + b"\n")

    def acknowledge(self, stored: Stored) -> None:
        """Tell the peer, and the log, that a file is safe."""
        self._context.logger.info(
            "file received", file=stored.name, size=stored.size, sha256=stored.sha256, peer=self._host
        )
        self.say(f"ok {stored.name} {stored.size} sha256={stored.sha256}")

    def drain(self) -> None:
        """Take no further file."""
        self._draining = True
        self._wake()

    @override
    def connectionMade(self) -> None:
        self._host = getattr(self.transport.getPeer(), "host", "-")
        self._peers.add(self)
        Deferred.fromCoroutine(self._converse()).addErrback(self._broken).addCallback(self._end)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        self._unread += data
        self._wake()
        if len(self._unread) >= BATCH and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The peer has sent everything."""
        self._finished = True
        self._wake()

    def writeConnectionLost(self) -> None:
        """Nothing depends on it: the peer's own side goes on."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self._wake()

    async def _converse(self) -> None:
        try:
            await self._talk(self)
        except Gone:
            self._context.logger.debug("connection broken", peer=self._host)
        except Refused as refused:
            self._context.logger.info("file refused", code=refused.code, reason=str(refused), peer=self._host)
            self.say(f"error {refused.code} {refused}")
            await self._linger()
        if not self._lost:
            self.transport.loseConnection()

    async def _linger(self) -> None:
        """Let the peer read the error: end our side, and throw away what still comes."""
        self._refused = True
        if not self._lost:
            self._take(len(self._unread))
            self.transport.loseWriteConnection()
            with suppress(Gone, TimedOut):
                await Deferred.fromCoroutine(self._more()).addTimeout(_LINGER, self._context.clock)

    def _take(self, limit: int) -> bytearray:
        if len(self._unread) <= limit:
            taken, self._unread = self._unread, bytearray()
        else:
            taken = self._unread[:limit]
            del self._unread[:limit]
        if self._paused and len(self._unread) < BATCH and not self._lost:
            self._paused = False
            self.transport.resumeProducing()
        return taken

    async def _more(self) -> bool:
        """Wait for more to happen; False if nothing can."""
        if self._finished:
            return False
        if self._lost:
            raise Gone
        self._waiting = Deferred()
        await self._waiting
        return True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _broken(self, failure: Failure) -> None:
        self._context.logger.failure("plugin fault", failure, peer=self._host)
        if not self._lost:
            self.transport.abortConnection()

    def _end(self, _: object) -> None:
        self._peers.discard(self)
        self.ended.callback(None)
