"""Engine that all protocols receive files with. It knows nothing of connections.

A protocol begins an upload, or finds one that was interrupted, and uses it as a context:

    async with await engine.begin(Facts("a.txt", 5), Sender("192.0.2.1")) as upload:
        upload.on_taken(...)                    # somebody else wants it: stop reading, leave the context
        while pieces := ...:                    # `upload.window` bytes, or fewer `upload.within` seconds
            await upload.write(pieces)          # back-pressure: read no more than a window meanwhile
        stored = await upload.finish(sha256)    # the file is published and durable

What was not finished at the end of the context is removed, or, if it was begun with `keep`, left for `find`
until it expires. Every step refuses by `FileRefused`, which the protocol says in its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from sockd_plugins.files.storage.batch import Small, store_all
from sockd_plugins.files.storage.bounds import check_allowed, owner_of
from sockd_plugins.files.storage.finished import Finished, note_finished, read_finished
from sockd_plugins.files.storage.incoming import LEAST_WINDOW, MOST_WINDOW, Incoming
from sockd_plugins.files.storage.parking import Parking
from sockd_plugins.files.storage.refused import FileRefused, disk_errors
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import Store
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.storage.sweep import sweep
from sockd_plugins.files.storage.unfinished import (
    Unfinished,
    list_unfinished,
    look_at,
    remove_upload,
    search_unfinished,
)
from sockd_plugins.files.storage.upload import Upload

__all__ = ["LEAST_WINDOW", "MOST_WINDOW", "Engine", "Incoming"]

_THREADS = 4  # an upload has one piece of work at a time; more threads would only make one disk seek

_SWEEP_SECONDS = 600.0  # between two searches for expired uploads, at least

_TAKE_SECONDS = 3.0
"""Seconds that the holder of an upload has to leave it to another connection: its disk may be busy."""

_TAKE_PAUSE = 0.1
"""Seconds between tries to take an upload that another process has."""

_LOOK_SECONDS = 0.5
"""Seconds between looks for uploads that other processes want: an idle connection does not write."""

T = TypeVar("T")


class Engine:
    """Store with the threads that wait for its disk, so that the reactor does not.

    With a clock that belongs to no reactor, as in a test, the work is done at once instead.

    Attributes:
        store: set by `open`.
        parking: uploads between two requests.
    """

    store: Store

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self.parking = Parking(clock, self.find)
        self._swept = clock.seconds()
        self._reactor = IReactorFromThreads(clock, None)
        self._running: dict[str, Incoming] = {}
        self._looks: IDelayedCall | None = None
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

    async def begin(
        self, facts: Facts, sender: Sender, *, keep: bool = False, joined: bool = False
    ) -> Incoming:
        """Begin an upload: its name, its size and its place in the ledger are checked.

        Args:
            facts: what the sender announces.
            sender: who it is.
            keep: whether the upload can be resumed when its connection breaks.
            joined: whether it is only a part of another upload, and its name does not matter.

        Raises:
            FileRefused: it is not accepted.
        """
        if not joined:
            check_allowed(self.store, facts.name)
        return self._enter(await self.run(self._begin, facts, sender, keep))

    async def store_small(self, files: Sequence[Small], sender: Sender) -> list[Stored | FileRefused]:
        """Store small files that have come whole; return for each what has become of it.

        Args:
            files: in the order in which they get their names.
            sender: who has sent them.
        """
        results = await self.run(store_all, self.store, sender, files)
        for result in results:
            if isinstance(result, Stored):
                self.tell(result)
        return results

    async def find(
        self,
        id: str,  # noqa: A002
        sender: Sender | None = None,
        *,
        take_over: bool = False,
        at: int | None = None,
    ) -> Incoming:
        """Go on with an upload that was interrupted.

        Args:
            id: of the upload.
            sender: who goes on. An upload that was begun with a key needs the same key.
            take_over: whether to end the connection that has it, in any worker, and to wait a moment for it.
            at: offset to go on from; what is behind it is forgotten. None for the durable one.

        Raises:
            FileRefused: there is none of this id, it is another sender's, it has less than that, or it is in
                use.
        """
        resume = partial(Upload.resume, self.store, id, sender, at)
        return self._enter(await self._when_free(id, resume, take_over=take_over))

    async def look(self, id: str) -> Unfinished:  # noqa: A002
        """Look at an unfinished upload, without taking it.

        Raises:
            FileRefused: there is none of this id.
        """
        if running := self._running.get(id):
            return running.look(self.store.parts.keep_for)
        return await self.run(look_at, self.store.parts, id)

    async def search(self, name: str, sender: Sender, size: int | None = None) -> Unfinished | None:
        """Find the newest unfinished upload that can be resumed, by its name and sender.

        Args:
            name: as it was announced.
            sender: with a key, the upload was begun with the same one; without, from the same source.
            size: bytes that were announced, of one that no connection has; None for any.
        """
        id = await self.run(search_unfinished, self.store.parts, name, sender, size)  # noqa: A001
        return None if id is None else await self.look(id)

    async def list(self) -> list[Unfinished]:
        """List the unfinished uploads: those that can be resumed, and all that this process receives."""
        found = await self.run(list_unfinished, self.store.parts)
        running = [upload.look(self.store.parts.keep_for) for upload in self._running.values()]
        return [*running, *(upload for upload in found if upload.id not in self._running)]

    async def end(self, id: str, sender: Sender | None = None) -> None:  # noqa: A002
        """Remove an unfinished upload, also while a connection sends it.

        Args:
            id: of the upload.
            sender: who wants it, as in `find`; None for the operator.

        Raises:
            FileRefused: there is none of this id, it is another sender's, or busy for longer than a moment.
        """
        await self.look(id)
        try:
            await self._when_free(id, partial(remove_upload, self.store.parts, id, sender), take_over=True)
        except FileRefused as refused:
            if refused.code != "unknown":  # its connection has removed it
                raise

    async def finished(self, id: str, sender: Sender) -> Finished | None:  # noqa: A002
        """Return what became of an upload that was noted when it was finished; None if it was not.

        Args:
            id: of the upload.
            sender: who asks, as in `find`.

        Raises:
            FileRefused: it is another sender's, or the disk fails.
        """
        finished = await self.run(self._finished, id)
        if finished is not None:
            owner_of(finished.sender, sender)
        return finished

    def _finished(self, id: str) -> Finished | None:  # noqa: A002
        with disk_errors():
            return read_finished(self.store.parts.folder, id)

    async def note(self, id: str, finished: Finished) -> None:  # noqa: A002
        """Note what became of an upload that is a part of another one.

        Raises:
            FileRefused: the disk fails.
        """
        await self.run(self._note, id, finished)

    def _note(self, id: str, finished: Finished) -> None:  # noqa: A002
        with disk_errors():
            note_finished(self.store.parts.folder, id, finished)

    def tell(self, stored: Stored) -> None:
        """Tell those of a file who want to know."""
        if self.store.notices is not None:
            self.store.notices.deliver(stored.id)

    def left(self, upload: Incoming) -> None:
        """Note that an upload is over, or left to the sender's next connection."""
        if self._running.get(upload.id) is upload:
            del self._running[upload.id]
        if not self._running and self._looks is not None:
            self._looks.cancel()
            self._looks = None

    def stop(self) -> None:
        """End the threads, which must be idle, and close the store."""
        if self._looks is not None:
            self._looks.cancel()
            self._looks = None
        self._pool.stop()
        self.store.close()

    def _begin(self, facts: Facts, sender: Sender, keep: bool) -> Upload:
        if self.clock.seconds() - self._swept >= _SWEEP_SECONDS:
            self._swept = self.clock.seconds()
            sweep(self.store.parts)
        return Upload.begin(self.store, facts, sender, keep=keep)

    def entered(self, upload: Incoming) -> None:
        """Note that an upload has begun, or goes on."""
        self._running[upload.id] = upload
        if self._looks is None:
            self._looks = self.clock.callLater(_LOOK_SECONDS, self._look_for_wanted)

    def _enter(self, upload: Upload) -> Incoming:
        incoming = Incoming(self, upload)
        self.entered(incoming)
        return incoming

    async def _when_free(self, id: str, work: Callable[[], T], *, take_over: bool) -> T:  # noqa: A002
        """Do work that needs the lock of an upload; wait for it if that is to be taken over."""
        end = self.clock.seconds() + _TAKE_SECONDS
        asked = False
        try:
            while True:
                try:
                    return await self.run(work)
                except FileRefused as refused:
                    if refused.code != "busy" or not take_over or self.clock.seconds() >= end:
                        raise
                if running := self._running.get(id):
                    running.take()
                    left = max(end - self.clock.seconds(), 0)
                    with suppress(TimedOut):
                        await running.wait_until_left().addTimeout(left, self.clock)
                else:
                    asked = True
                    await self.run(self.store.parts.want, id)
                    await self._pause(_TAKE_PAUSE)
        finally:
            if asked:
                await self.run(self.store.parts.unwant, id)

    async def _pause(self, seconds: float) -> None:
        pause: Deferred[None] = Deferred()
        self.clock.callLater(seconds, pause.callback, None)
        await pause

    def _look_for_wanted(self) -> None:
        self._looks = None
        looked = self.run(self.store.parts.wanted)
        looked.addCallbacks(self._give_up_wanted, lambda _: self._give_up_wanted(set()))  # a disk that fails

    def _give_up_wanted(self, wanted: set[str]) -> None:
        for id in wanted & self._running.keys():  # noqa: A001
            self._running[id].take()
        if self._running and self._looks is None:
            self._looks = self.clock.callLater(_LOOK_SECONDS, self._look_for_wanted)
