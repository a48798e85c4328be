"""Threads that wait for the disk, so that the reactor does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from threading import Thread
from typing import TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from sockd_plugins.files.store import Store
from sockd_plugins.files.upload import Upload

_THREADS = 4  # a connection has one piece of work at a time; more threads would only make one disk seek

T = TypeVar("T")


class Disk:
    """Store with the threads that wait for it.

    With a clock that belongs to no reactor, as in a test, the work is done at once instead.

    Attributes:
        store: set by `open`.
    """

    store: Store

    def __init__(self, clock: IReactorTime) -> None:
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

    @asynccontextmanager
    async def upload(self, name: str, size: int | None = None) -> AsyncIterator[Upload]:
        """Receive a file; unless it is committed, it is removed at the end."""
        upload = await self.run(Upload, self.store, name, size)
        try:
            yield upload
        finally:
            await self.run(upload.close)

    def stop(self) -> None:
        """End the threads, which must be idle, and close the store."""
        self._pool.stop()
        self.store.close()
