"""Engine that all protocols receive files with. It knows nothing of connections.

A protocol begins an upload, or finds one that was interrupted, and uses it as a context:

    async with await engine.begin(Facts("a.txt", 5), source="192.0.2.1") as upload:
        while pieces := ...:                    # `upload.window` bytes, or fewer `upload.within` seconds
            await upload.write(pieces)          # back-pressure: read no more than a window meanwhile
        stored = await upload.finish(sha256)    # the file is published and durable

What was not finished at the end of the context is removed, or, if it was begun with `keep`, left for `find`
until it expires. Every step refuses by `FileRefused`, which the protocol says in its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from types import TracebackType
from typing import TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import Store
from sockd_plugins.files.storage.upload import Piece, Stored, Upload

_THREADS = 4  # an upload has one piece of work at a time; more threads would only make one disk seek

LEAST_WINDOW = 1 << 16
"""Bytes that an upload collects for one piece of work at first: what a slow one costs."""

MOST_WINDOW = 4 << 20
"""Bytes for one piece of work at most: the change of threads costs nothing beside the disk then."""

_QUICK = 0.05
"""Seconds for a window, with its way to the disk, below which the next is twice as large."""

_SLOW = 0.5
"""Seconds for a window, with its way to the disk, above which the next is half as large."""

_FILL_SECONDS = 1.0
"""Seconds after which a window is written that is not full: a sender that stalls keeps no memory, and what is
not written of an upload that can be resumed is sent again."""

_SWEEP_SECONDS = 600.0  # between two searches for expired uploads, at least

_FINAL = {"digest-mismatch", "too-large", "bad-name"}  # refusals after which going on would be in vain

T = TypeVar("T")


class Engine:
    """Store with the threads that wait for its disk, so that the reactor does not.

    With a clock that belongs to no reactor, as in a test, the work is done at once instead.

    Attributes:
        store: set by `open`.
    """

    store: Store

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._swept = clock.seconds()
        self._reactor = IReactorFromThreads(clock, None)
        self._pool = ThreadPool(0, _THREADS, "files")
        # A disk that never answers must not keep the process from its end.
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
        self._pool.start()

    async def open(self, opened: Callable[[], Store]) -> None:
        """Open the store, even on a slow disk; a failure ends the threads."""
        try:
            self.store = await self.run(opened)
        except OSError:
            self._pool.stop()
            raise

    def run(self, work: Callable[..., T], *args: object) -> Deferred[T]:
        """Run blocking work in a thread."""
        if self._reactor is None:
            return execute(work, *args)
        return deferToThreadPool(self._reactor, self._pool, work, *args)

    async def begin(self, facts: Facts, source: str = "", *, keep: bool = False) -> Incoming:
        """Begin an upload: its name is safe, its size and its place in the ledger are checked.

        Args:
            facts: what the sender announces.
            source: address of the sender.
            keep: whether the upload can be resumed when its connection breaks.

        Raises:
            FileRefused: it is not accepted.
        """
        return Incoming(self, await self.run(self._begin, facts, source, keep))

    async def find(self, id: str) -> Incoming:  # noqa: A002
        """Go on with an upload that was interrupted, at its durable offset.

        Raises:
            FileRefused: there is none of this id, or it is in use.
        """
        return Incoming(self, await self.run(Upload.resume, self.store, id))

    def stop(self) -> None:
        """End the threads, which must be idle, and close the store."""
        self._pool.stop()
        self.store.close()

    def _begin(self, facts: Facts, source: str, keep: bool) -> Upload:
        if self.clock.seconds() - self._swept >= _SWEEP_SECONDS:
            self._swept = self.clock.seconds()
            self.store.parts.sweep()
        return Upload.begin(self.store, facts, source=source, keep=keep)


class Incoming:
    """Upload in progress; a context, at the end of which it is over.

    Attributes:
        window: bytes to collect for the next `write`.
    """

    def __init__(self, engine: Engine, upload: Upload) -> None:
        self.window = LEAST_WINDOW
        self._engine = engine
        self._upload = upload
        self._last = engine.clock.seconds()

    @property
    def id(self) -> str:
        """Id of the upload, by which it is found again."""
        return self._upload.id

    @property
    def kept(self) -> bool:
        """True if it can be resumed when its connection breaks."""
        return self._upload.kept

    @property
    def within(self) -> float | None:
        """Seconds in which to collect a window; None if a slow sender may take its time for a small one."""
        return _FILL_SECONDS if self.kept or self.window > LEAST_WINDOW else None

    @property
    def facts(self) -> Facts:
        """Announcement with which it was begun."""
        return self._upload.facts

    @property
    def received(self) -> int:
        """Bytes that were written."""
        return self._upload.size

    @property
    def durable(self) -> int:
        """Bytes that neither a crash nor a power cut can remove; a sender may be told."""
        return self._upload.durable

    async def write(self, pieces: Sequence[Piece]) -> None:
        """Write and hash the next bytes.

        Raises:
            FileRefused: there is no room for them, or the disk fails.
        """
        await self._engine.run(self._upload.write, *pieces)
        now = self._engine.clock.seconds()
        took, self._last = now - self._last, now
        if took < _QUICK:
            self.window = min(2 * self.window, MOST_WINDOW)
        elif took > _SLOW:
            self.window = max(self.window // 2, LEAST_WINDOW)

    async def sync(self) -> int:
        """Make durable what was written; return the offset."""
        return await self._engine.run(self._upload.sync)

    async def finish(self, sha256: str | None = None, *, verified: bool = True) -> Stored:
        """Check size and digest, publish the file, and return when it is durable.

        Args:
            sha256: the digest that the sender tells.
            verified: whether the file is known to be whole, from its size or its digest.

        Raises:
            FileRefused: it is not as announced, or cannot be published.
        """
        return await self._engine.run(partial(self._upload.commit, sha256, verified=verified))

    async def abandon(self) -> None:
        """Remove the upload, whether it can be resumed or not. A finished file stays."""
        await self._engine.run(self._upload.close)

    async def __aenter__(self) -> Incoming:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        final = isinstance(error, FileRefused) and error.code in _FINAL
        if error is None or final or not self._upload.kept:
            await self.abandon()
            return
        await self._engine.run(self._upload.suspend)
