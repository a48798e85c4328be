"""Store of a chat's messages, as a hub uses it.

At a reload or an upgrade of the daemon two of them are there at the same time, in one process or in two.
`open` and what reads may be called at once; `latest` and what changes something wait until the other one has
been closed, and has stored its last message (`locks`).
"""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd_plugins.chat.history import closing, erasing, reading, words
from sockd_plugins.chat.history.erasing import Bounds
from sockd_plugins.chat.history.locks import OWNER, TURN, Lock
from sockd_plugins.chat.history.tables import database_in
from sockd_plugins.chat.history.upkeep import Change, Upkeep
from sockd_plugins.chat.history.worker import Worker, results_of
from sockd_plugins.chat.history.writing import store
from sockd_plugins.chat.hub.delivery import NotStored
from sockd_plugins.chat.hub.events import Said
from sockd_plugins.database import DatabaseError

_OWNER_SECONDS = 30.0
"""Seconds for the instance that served before to store its last message, on a disk that is busy."""

_LOOK_SECONDS = 1.0
"""Seconds between looks for what a command has changed beside the daemon."""

_FAILED_SECONDS = 60.0
"""Seconds until upkeep is tried again after a failure."""

_FORGET_STEP = 5_000
"""Messages that are looked at in a transaction, for a person who is to be forgotten: some milliseconds."""

T = TypeVar("T")

_Job = Sequence[Said] | Callable[[], object]
"""Job of the writer: messages to store, or other work."""


class History:
    """History of one chat.

    Args:
        folder: state folder of the service.
        bounds: bounds of what is kept.
        clock: the reactor, which gets the answers; with a clock that is none, all is done at once.
        log: gets what goes wrong while nobody waits.
        now: returns the time in seconds since 1970.

    Attributes:
        on_changes: called with what commands have removed beside the daemon.
    """

    def __init__(
        self,
        folder: Path,
        bounds: Bounds,
        clock: IReactorTime,
        log: Logger,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.on_changes: Callable[[Sequence[Change]], None] = lambda _: None
        self._log = log
        self._reactor = IReactorFromThreads(clock, None)
        self._database, self._searched = database_in(folder), database_in(folder)
        self._owner = Lock(folder / OWNER)
        self._upkeep = Upkeep(self._database, bounds, Lock(folder / TURN), now, self._tell)
        self._owned = self._closed = False
        self._changes_under_way = 0
        self._untidy_at = -_FAILED_SECONDS  # time of the last failure of upkeep
        self._writer: Worker[_Job] = Worker("history-writer", self._reactor, self._write, self._rest)
        self._reader = Worker("history-reader", self._reactor, results_of)
        self._searcher = Worker("history-search", self._reactor, results_of)

    async def open(self) -> None:
        """Make the database if it is missing, and see whether it can be used.

        Raises:
            OSError: it cannot.
        """
        await self._reader.ask(self._make)

    async def close(self) -> None:
        """Let another instance go on, once all messages so far are stored; release everything."""
        if self._closed:
            return
        self._closed = True
        await self._writer.ask(self._let_go)
        await self._reader.end()
        await self._searcher.end()
        await self._writer.ask(self._searched.close)
        await self._writer.ask(self._database.close)
        await self._writer.end()

    async def latest(self, room: str, limit: int) -> tuple[int, Sequence[Said]]:
        """Return the number of a room's last message, 0 for none, and the last messages, at most `limit`.

        Raises:
            NotStored: the history cannot be used; the text tells people.
        """
        return await self._changed(lambda: self._read_first(room, limit))

    async def keep(self, said: Sequence[Said]) -> None:
        """Store messages; return once they survive a crash.

        Messages that come while others are being stored are stored together, after those.

        Args:
            said: with rising numbers in each room.

        Raises:
            NotStored: none of them is stored; the text tells people.
        """
        await self._changed(said)

    async def since(self, room: str, number: int, limit: int) -> Sequence[Said]:
        """Return the first messages of a room behind a number, at most `limit`.

        Raises:
            OSError: the database cannot be read.
        """
        return await self._read(lambda database: reading.since(database, room, number, limit), ())

    async def before(self, room: str, number: int, limit: int) -> Sequence[Said]:
        """Return the last messages of a room before a number, at most `limit`, the oldest first.

        Raises:
            OSError: the database cannot be read.
        """
        return await self._read(lambda database: reading.before(database, room, number, limit), ())

    async def between(
        self, room: str, low: int, high: int, limit: int, *, last: bool = False
    ) -> Sequence[Said]:
        """Return messages of a room between two numbers, which are not included, the oldest first.

        Args:
            room: name of the room.
            low: number before the first one.
            high: number after the last one.
            limit: messages at most.
            last: whether the last ones count rather than the first ones, if there are more.

        Raises:
            OSError: the database cannot be read.
        """
        return await self._read(
            lambda database: reading.between(database, room, low, high, limit, last=last), ()
        )

    async def place(self, room: str, at: float) -> tuple[int, int]:
        """Return the numbers of the last message before a time, and of the first one after it.

        Args:
            room: name of the room.
            at: in seconds since 1970; counts in whole milliseconds.

        Raises:
            OSError: the database cannot be read.
        """
        return await self._read(lambda database: reading.place(database, room, at), (0, 1))

    async def search(self, text: str, room: str, limit: int, before: int | None = None) -> Sequence[Said]:
        """Return the last messages with all words of a text, at most `limit`, the newest first.

        What was said in the last second or two may be missing.

        Args:
            text: words as a person writes them.
            room: name of the room; empty for all rooms.
            limit: messages at most.
            before: number that their numbers are below, in one room; None for all.

        Raises:
            words.NoWord: there is no word in the text; the text of the error tells people.
            OSError: the database cannot be read, or not in time.
        """
        self._check_open()

        def search() -> Sequence[Said]:
            with self._searched.reading() as database:
                return () if database is None else words.search(database, text, room, limit, before)

        return await self._searcher.ask(search)  # type: ignore[no-any-return]

    async def redact(self, room: str, number: int) -> bool:
        """Remove the text of a message for good; its number stays. Return False if there is no such message.

        Raises:
            NotStored: it is not removed; the text tells people.
        """
        return await self._changed(
            lambda: self._change(lambda database: erasing.redact(database, room, number))
        )

    async def forget(self, name: str) -> int:
        """Remove text and name from all messages of a person; return their number.

        Args:
            name: of an account, or that of a person without one.

        Raises:
            NotStored: not all of them are; the text tells people.
        """
        row, count = 0, 0
        while True:
            last, found = await self._changed(partial(self._forget, name, row))
            count += found
            if last == row:
                return count
            row = last

    def note_closed(self, room: str) -> None:
        """Note that not everybody may enter a room from now on (`closing`)."""
        self._change_before_reads(partial(closing.note_closed, room=room))

    def note_open(self, room: str) -> None:
        """Hide what was said in a room while it was closed: it is open now, or has ended."""
        self._change_before_reads(partial(closing.note_open, room=room))

    def _change_before_reads(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Have the writer do work that holds for all reads that are asked for later."""
        if not self._closed:
            self._changes_under_way += 1
            self._writer.ask(partial(self._change, work)).addErrback(self._note_failed).addBoth(
                self._note_done
            )

    def _note_failed(self, failure: Failure) -> None:
        self._log.warn("history not tidied", error=failure.getErrorMessage())

    def _note_done(self, _: object) -> None:
        self._changes_under_way -= 1

    async def _changed(self, job: Sequence[Said] | Callable[[], T]) -> T:
        """Have the writer do a job."""
        try:
            self._check_open()
            return await self._writer.ask(job)  # type: ignore[no-any-return]
        except OSError as error:
            told = isinstance(error, DatabaseError) and error.strerror
            raise NotStored(told or f"the history cannot be written: {error.strerror}") from error

    def _read(self, work: Callable[[sqlite3.Connection], T], nothing: T) -> Deferred[T]:
        """Have the reader do a job; return `nothing` if there is no database."""
        self._check_open()

        def read() -> T:
            with self._database.reading() as database:
                return nothing if database is None else work(database)

        return (self._writer if self._changes_under_way else self._reader).ask(read)

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseError(errno.ESHUTDOWN, "the history is closed")

    def _make(self) -> None:
        with self._database.upkeep(create=True):
            pass

    def _write(self, jobs: Sequence[_Job]) -> Sequence[object]:
        """Do jobs of the writer, in its thread: messages that follow each other in one transaction."""
        results: list[object] = []
        together: list[Sequence[Said]] = []
        for job in jobs:
            if not callable(job):
                together.append(job)
                continue
            results += self._store(together)
            together = []
            results += results_of([job])
        return results + self._store(together)

    def _store(self, groups: Sequence[Sequence[Said]]) -> list[object]:
        """Store groups of messages together, or each by itself if that fails; return the result of each."""
        if not groups:
            return []
        result = results_of([partial(self._store_all, list(chain.from_iterable(groups)))])
        if len(groups) > 1 and isinstance(result[0], Failure) and result[0].check(DatabaseError):
            return results_of([partial(self._store_all, group) for group in groups])
        return result * len(groups)

    def _store_all(self, said: Sequence[Said]) -> None:
        self._change(lambda database: store(database, said))

    def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work in a transaction, by the only instance that may."""
        self._own()
        with self._database.changing(create=True) as database:
            assert database is not None  # noqa: S101  # it was made
            result = work(database)
        self._upkeep.note_change()
        return result

    def _forget(self, name: str, row: int) -> tuple[int, int]:
        return self._change(lambda database: erasing.forget(database, name, row, _FORGET_STEP))

    def _read_first(self, room: str, limit: int) -> tuple[int, Sequence[Said]]:
        self._own()
        with self._database.reading() as database:
            return (0, ()) if database is None else reading.latest(database, room, limit)

    def _own(self) -> None:
        """Wait until no other instance stores messages."""
        if not self._owned:
            self._owner.take(_OWNER_SECONDS if self._reactor else 0.0, lambda: self._closed)
            with self._database.changing() as database:
                if database is not None:
                    closing.note_all_open(database)
            self._upkeep.begin()
            self._owned = True

    def _let_go(self) -> None:
        self._owned = False
        self._owner.give_up()

    def _rest(self) -> float | None:
        """Do a step of upkeep; return the seconds until the next one."""
        if not self._owned or self._closed:
            return None
        if (wait := self._untidy_at + _FAILED_SECONDS - time.monotonic()) > 0:
            return wait
        try:
            return 0.0 if self._upkeep.step() else _LOOK_SECONDS
        except OSError as error:
            self._untidy_at = time.monotonic()
            self._in_reactor(partial(self._note_failure, error))
            return _FAILED_SECONDS

    def _note_failure(self, error: OSError) -> None:
        self._log.warn("history not tidied", error=str(error))

    def _tell(self, changes: Sequence[Change]) -> None:
        self._in_reactor(partial(self.on_changes, changes))

    def _in_reactor(self, call: Callable[[], object]) -> None:
        if self._reactor is None:
            call()
        else:
            self._reactor.callFromThread(call)

    def tidy(self) -> None:
        """Do all upkeep at once, which else is done while nobody speaks; it waits for the disk."""
        self._upkeep.finish()
