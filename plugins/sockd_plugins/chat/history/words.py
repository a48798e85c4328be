"""Search for words, by an index that is brought up to date after the messages are stored."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from sockd.text import printable
from sockd_plugins.chat.history.reading import COLUMNS, as_said
from sockd_plugins.chat.hub.events import Said
from sockd_plugins.chat.hub.names import fold

MOST_WORDS = 16
"""Words of a search that count."""

_SECONDS = 2.0
"""Seconds for a search; more is for a disk that is busy, or a room with millions of messages."""

_OPERATIONS = 10_000
"""Operations of SQLite between two looks at the clock: about a millisecond."""


class NoWord(ValueError):
    """Error of a search without a word. The text tells people."""


def search(
    database: sqlite3.Connection,
    words: str,
    room: str,
    limit: int,
    before: int | None = None,
    *,
    hidden: bool = False,
) -> Sequence[Said]:
    """Return the last messages that have all words, at most `limit`, the newest first.

    A word is found at the beginning of words too, in any case and without accents: `cafe` finds `Cafés`.

    Args:
        database: to read.
        words: as a person writes them.
        room: name of the room; empty for all rooms.
        limit: messages at most.
        before: number that their numbers are below, in one room; None for all.
        hidden: whether to find what people are not shown (`closing`), too.

    Raises:
        NoWord: there is no word in it.
        sqlite3.OperationalError: it takes too long.
    """
    match, where = [f"text : {word}" for word in _quoted(words)], ""
    values: list[str | int] = []
    if room:
        match.insert(0, f'room : "{_inner(fold(room))}"')
        where, values = " AND messages.room = ?", [fold(room)]
    if before is not None:
        where, values = f"{where} AND messages.number < ?", [*values, before]
    if not hidden:
        where = f"{where} AND messages.number > rooms.hidden"
    until = time.monotonic() + _SECONDS
    database.set_progress_handler(lambda: time.monotonic() > until, _OPERATIONS)
    try:
        found = database.execute(
            f"SELECT rooms.name, {COLUMNS} FROM words JOIN messages ON messages.row = words.rowid"  # noqa: S608
            f" JOIN rooms ON rooms.room = messages.room WHERE words MATCH ?{where}"
            " ORDER BY words.rowid DESC LIMIT ?",
            (" AND ".join(match), *values, max(limit, 0)),
        ).fetchall()
    finally:
        database.set_progress_handler(None, 0)
    return tuple(said for name, *row in found for said in as_said(name, [row]))


def index_some(database: sqlite3.Connection, most: int) -> int:
    """Bring the index up to date by some messages, in a transaction of the caller's; return their number."""
    done = indexed(database)
    row = "SELECT max(row), count(*) FROM (SELECT row FROM messages WHERE row > ? ORDER BY row LIMIT ?)"
    last, count = database.execute(row, (done, most)).fetchone()
    if count:
        database.execute(
            "INSERT INTO words (rowid, room, text)"
            " SELECT row, room, text FROM messages WHERE row > ? AND row <= ?",
            (done, last),
        )
        database.execute("INSERT OR REPLACE INTO marks VALUES ('indexed', ?)", (last,))
    return int(count)


def indexed(database: sqlite3.Connection) -> int:
    """Return the last row that the index knows."""
    found = database.execute("SELECT value FROM marks WHERE mark = 'indexed'").fetchone()
    return int(found[0]) if found else 0


def _quoted(words: str) -> list[str]:
    """Return each word as a string of the index's language, so that nothing in it has a meaning there.

    Raises:
        NoWord: there is none; marks alone are none.
    """
    found = [f'"{_inner(word)}"*' for word in printable(words).split() if any(map(str.isalnum, word))]
    if not found:
        raise NoWord("there is no word to search for")
    return found[:MOST_WORDS]


def _inner(word: str) -> str:
    return word.replace('"', '""')
