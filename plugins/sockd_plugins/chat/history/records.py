"""History for an operator's commands, beside a daemon that may serve the chat at the same time.

Only the owner of the history writes the log of the database back (`locks`). So the daemon cleans up what a
command has removed, within seconds; without a daemon the command does it itself.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sockd_plugins.chat.history import erasing, words
from sockd_plugins.chat.history.locks import OWNER, TURN, Lock
from sockd_plugins.chat.history.tables import database_in
from sockd_plugins.chat.history.upkeep import Upkeep
from sockd_plugins.chat.hub.events import REMOVED, Said
from sockd_plugins.chat.hub.names import fold

_ALL = 2**62
_FOR_EVER = erasing.Bounds(age=0, room_size=_ALL, size=_ALL, rooms=_ALL)

_STEP = 5_000
"""Messages of a step, during which the daemon cannot store others: some milliseconds."""

_CHANGES_SECONDS = 86_400.0
"""Seconds for which a change is remembered; the daemon reads it within seconds."""

_CLEAN_SECONDS = 60.0
"""Seconds for the daemon to clean up: it rewrites the index of words."""

_PAUSE = 0.1  # seconds between looks


class NoHistory(Exception):
    """Error of a service that has stored no message."""


class Records:
    """Records of one chat; `close` ends it. Each call waits for the disk.

    Args:
        folder: state folder of the service.
        now: returns the time in seconds since 1970.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._database = database_in(folder)
        self._turn, self._owner = Lock(folder / TURN), Lock(folder / OWNER)
        self._now = now

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def search(self, text: str, room: str, limit: int) -> Sequence[Said]:
        """Return the last messages with all words of a text, the newest first.

        Raises:
            NoHistory: nothing was ever stored.
            words.NoWord: there is no word in the text.
            OSError: the database cannot be read, or not in time.
        """
        with self._reading() as database:
            return words.search(database, text, room, limit, hidden=True)

    def export(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield all messages of a person, in the order in which they were stored.

        Args:
            name: of an account, or that of a person without one.

        Raises:
            NoHistory: nothing was ever stored.
            OSError: the database cannot be read.
        """
        row, columns = 0, "rooms.name, number, at, kind, messages.name, account, text"
        while True:
            with self._reading() as database:
                found = database.execute(
                    f"SELECT row, {columns} FROM messages JOIN rooms ON rooms.room = messages.room"  # noqa: S608
                    f" WHERE row > ? AND {erasing.OF_PERSON} ORDER BY row LIMIT ?",
                    (row, fold(name), fold(name), _STEP),
                ).fetchall()
            if not found:
                return
            for row, room, number, at, kind, speaker, account, text in found:  # noqa: B007  # goes on from there
                yield {
                    "room": room,
                    "number": number,
                    "at": at,
                    "kind": kind,
                    "name": speaker,
                    "account": account,
                    "text": text or REMOVED,
                }

    def redact(self, room: str, number: int, reason: str) -> bool:
        """Remove the text of a message; return False if there is no such message.

        Raises:
            NoHistory: nothing was ever stored.
            OSError: the database cannot be changed.
        """
        with self._changing() as database:
            found = erasing.redact(database, room, number)
            if found:
                self._note(database, fold(room), number, "", reason)
            return found

    def forget(self, name: str) -> int:
        """Remove text and name from all messages of a person; return their number.

        Args:
            name: of an account, or that of a person without one.

        Raises:
            NoHistory: nothing was ever stored.
            OSError: the database cannot be changed.
        """
        row, count = -1, 0
        last = 0
        while last != row:
            row = last
            with self._changing() as database:
                last, found = erasing.forget(database, name, row, _STEP)
                count += found
                if last == row:
                    self._note(database, "", 0, fold(name), "")
        return count

    def clean(self) -> bool:
        """Wait until nothing is left on the disk of what was removed; return False if that takes too long.

        Raises:
            NoHistory: nothing was ever stored.
            OSError: the database cannot be changed.
        """
        until = time.monotonic() + _CLEAN_SECONDS
        upkeep = Upkeep(self._database, _FOR_EVER, self._turn, self._now)
        while not self._is_clean():
            if time.monotonic() >= until:
                return False
            if self._owner.try_take():
                try:
                    upkeep.note_change()
                    upkeep.finish()
                finally:
                    self._owner.give_up()
            else:
                time.sleep(_PAUSE)
        return True

    def _is_clean(self) -> bool:
        with self._reading() as database:
            return not erasing.unclean(database)

    def _note(self, database: sqlite3.Connection, room: str, number: int, name: str, reason: str) -> None:
        """Note a change for the daemon."""
        now = self._now()
        database.execute("DELETE FROM changes WHERE at < ?", (now - _CHANGES_SECONDS,))
        values = (now, room, number, name, reason)
        database.execute(
            "INSERT INTO changes (at, room, number, name, reason) VALUES (?, ?, ?, ?, ?)", values
        )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._database.reading() as database:
            if database is None:
                raise NoHistory("no message was ever stored")
            yield database

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._reading():
            pass
        with self._turn.held(), self._database.changing() as database:
            if database is None:
                raise NoHistory("no message was ever stored")
            yield database


@contextmanager
def records_in(folder: Path) -> Iterator[Records]:
    """Give the records in a state folder, and close them."""
    with closing(Records(folder)) as records:
        yield records
