"""Work on the database that no speaker waits for, in small steps: the index of words, the bounds, cleaning.

A step takes some milliseconds, as a message that comes meanwhile waits for it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from sockd_plugins.chat.history.erasing import Bounds, clean_some, expire_some, mark_clean, unclean
from sockd_plugins.chat.history.locks import Lock
from sockd_plugins.chat.history.words import index_some
from sockd_plugins.database import Database

_STEP = 200
"""Messages of a step."""

_PAGES = 256
"""Pages that are given back to the disk in a step: 1 MiB."""

_EXPIRE_SECONDS = 60.0
"""Seconds between two looks for messages that are too old, and until the log of the database is written back
where little is said."""

FEW_CHANGES = 100
"""Transactions in the log that are worth the two synchronizations of writing it back: some 2 MB."""

MANY_CHANGES = 1000
"""Transactions after which it is written back however much there is to do, so that it stays bounded."""


@dataclass(frozen=True, slots=True)
class Change:
    """Change by a command beside the daemon.

    Attributes:
        room: folded name of the room of a message whose text was removed; empty for all rooms.
        number: number of that message; 0 for all of a person.
        name: folded name of a person who was forgotten; else empty.
        reason: text for people.
    """

    room: str
    number: int
    name: str
    reason: str


class Upkeep:
    """Upkeep of one database, by the process that owns it.

    Args:
        database: of the history.
        bounds: that hold.
        turn: keeps commands of other processes away from a checkpoint.
        now: returns the time in seconds since 1970.
        on_changes: gets the changes of commands.
    """

    def __init__(
        self,
        database: Database,
        bounds: Bounds,
        turn: Lock,
        now: Callable[[], float] = time.time,
        on_changes: Callable[[Sequence[Change]], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._bounds = bounds
        self._turn = turn
        self._now = now
        self._on_changes = on_changes
        self._steps = self._all()
        self._due = False
        self._unwritten = 0  # transactions in the log of the database
        self._looked = 0.0  # time of the last look for messages that are too old
        self._version = -1  # of the data, as other processes change it
        self._change = 0  # the last one that was told

    def begin(self) -> None:
        """Leave out the changes so far.

        Raises:
            OSError: the database fails.
        """
        with self._database.upkeep() as database:
            if database is not None:
                (self._change,) = database.execute("SELECT coalesce(max(change), 0) FROM changes").fetchone()

    def note_change(self) -> None:
        """Note that the owner has changed something."""
        self._due = True
        self._unwritten += 1

    def step(self) -> bool:
        """Do a step; return whether there may be more to do now.

        Raises:
            OSError: the database fails; the next step begins from the beginning.
        """
        if self._unwritten >= MANY_CHANGES:
            self._write_back(0)
            return True
        if next(self._steps, None):
            return True
        self._steps = self._all()
        return False

    def finish(self) -> None:
        """Do all there is to do."""
        while self.step():
            pass

    def _all(self) -> Iterator[bool]:
        """Do everything in its order, a step at a time."""
        late = self._now() >= self._looked + _EXPIRE_SECONDS
        if not (self._read_changes() or self._due or late):
            return
        self._due = False
        self._looked = self._now() if late else self._looked
        try:
            yield from self._repeat(lambda database: index_some(database, _STEP) == _STEP)
            expired = yield from self._repeat(self._expire)
            cleaned = yield from self._clean()
            if expired or cleaned:
                yield from self._give_back()
            if cleaned or late or self._unwritten >= FEW_CHANGES:
                self._write_back(cleaned)
        except OSError:
            self._due = True  # the next round is due
            raise

    def _repeat(self, work: Callable[[sqlite3.Connection], bool]) -> Generator[bool, None, int]:
        """Do work in transactions, until there is none; return how often there was."""
        times = 0
        while self._change_once(work):
            times += 1
            yield True
        return times

    def _change_once(self, work: Callable[[sqlite3.Connection], bool]) -> bool:
        with self._database.changing() as database:
            return database is not None and work(database)

    def _expire(self, database: sqlite3.Connection) -> bool:
        return expire_some(database, self._bounds, self._now(), _STEP) > 0

    def _clean(self) -> Generator[bool, None, int]:
        """Merge all of the index if removed text may be in it; return the state of `unclean` before."""
        with self._database.reading() as database:
            before = 0 if database is None else unclean(database)
        if before:
            self._change_once(lambda database: clean_some(database, begin=True))
            yield from self._repeat(lambda database: clean_some(database, begin=False))
        return before

    def _give_back(self) -> Iterator[bool]:
        """Give free pages back to the disk."""
        free = 1
        while free:
            with self._database.upkeep() as database:
                if database is None:
                    return
                database.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
                (free,) = database.execute("PRAGMA freelist_count").fetchone()
            yield True

    def _write_back(self, cleaned: int) -> None:
        """Bring the log of the database into its file.

        Args:
            cleaned: state of `unclean` that the log is emptied for, too; 0 for none.
        """
        kind = "TRUNCATE" if cleaned else "PASSIVE"
        self._unwritten = 0
        with self._turn.held(), self._database.upkeep() as database:
            if database is None:
                return
            (busy, *_) = database.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()
        if busy:
            self._due = True  # a reader has kept it, and is soon ready
        elif cleaned:
            self._change_once(lambda database: mark_clean(database, cleaned))

    def _read_changes(self) -> bool:
        """Look for changes by commands, and tell of them; return whether there are any."""
        with self._database.upkeep() as database:
            if database is None:
                return False
            (version,) = database.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return False
            self._version = version
            query = "SELECT change, room, number, name, reason FROM changes WHERE change > ? ORDER BY change"
            found = database.execute(query, (self._change,)).fetchall()
        if found:
            self._change = found[-1][0]
            self._on_changes([Change(*row) for _, *row in found])
        return bool(found)
