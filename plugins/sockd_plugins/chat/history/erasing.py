"""Removal of text: of one message, of a person, and of what is too old or too much.

A message whose text is removed keeps its place and its number. What a database deletes stays on the disk for
a while: in its log, and in the index of words, which only notes that a word does not count any more. The mark
"unclean" stands until `clean_some` has removed that too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from sockd_plugins.chat.history.tables import COST
from sockd_plugins.chat.history.words import indexed
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.record import NOBODY

_MERGED_PAGES = 200
"""Pages of the index that a step of cleaning writes: some milliseconds."""

_CHOSEN = "SELECT row FROM chosen"
_UNINDEX = f"""
INSERT INTO words (words, rowid, room, text)
SELECT 'delete', row, room, text FROM messages WHERE row IN ({_CHOSEN}) AND row <= ?"""  # noqa: S608

_INDEX = f"""
INSERT INTO words (rowid, room, text)
SELECT row, room, text FROM messages WHERE row IN ({_CHOSEN}) AND row <= ?"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of what is kept.

    Attributes:
        age: seconds for which a message is kept; 0 for ever.
        room_size: bytes of one room.
        size: bytes of all rooms.
        rooms: rooms without messages whose last number is remembered.
    """

    age: float = 30 * 86_400.0
    room_size: int = 64 << 20
    size: int = 1 << 30
    rooms: int = 100_000


def redact(database: sqlite3.Connection, room: str, number: int) -> bool:
    """Remove the text of a message, in a transaction of the caller's; return False if there is none."""
    found = database.execute(
        "SELECT row FROM messages WHERE room = ? AND number = ?", (fold(room), number)
    ).fetchone()
    if found is not None:
        _choose(database, [found[0]])
        _empty(database, "text = ''")
    return found is not None


def forget(database: sqlite3.Connection, name: str, row: int, most: int) -> tuple[int, int]:
    """Remove text and name from messages of a person, in a transaction of the caller's.

    Args:
        database: in a transaction.
        name: of an account, or that of a person without one.
        row: the last one that was looked at.
        most: rows to look at.

    Returns:
        The last row that was looked at, and the number of messages found; the same row at the end.
    """
    rows = database.execute("SELECT row FROM messages WHERE row > ? ORDER BY row LIMIT ?", (row, most))
    last = max((each for (each,) in rows), default=row)
    found = database.execute(
        f"SELECT row FROM messages WHERE row > ? AND row <= ? AND {OF_PERSON}",  # noqa: S608
        (row, last, fold(name), fold(name)),
    )
    if chosen := [each for (each,) in found]:
        _choose(database, chosen)
        _empty(database, f"text = '', account = '', name = '{NOBODY}'")
    return last, len(chosen)


OF_PERSON = "(lower(messages.account) = ? OR (messages.account = '' AND lower(messages.name) = ?))"
"""Condition of a message of a person, by the folded name twice."""


def expire_some(database: sqlite3.Connection, bounds: Bounds, now: float, most: int) -> int:
    """Delete messages that are beyond the bounds, in a transaction of the caller's; return their number.

    Args:
        database: in a transaction.
        bounds: that hold.
        now: time in seconds since 1970.
        most: messages at most.
    """
    chosen = _too_old(database, now - bounds.age, most) if bounds.age else []
    if not chosen:
        chosen = _too_much(database, bounds, most)
    if chosen:
        _choose(database, chosen)
        database.execute(_UNINDEX, (indexed(database),))
        _count_out(database, COST)
        database.execute(f"DELETE FROM messages WHERE row IN ({_CHOSEN})")  # noqa: S608
    else:
        _forget_rooms(database, bounds.rooms)
    return len(chosen)


def clean_some(database: sqlite3.Connection, *, begin: bool) -> bool:
    """Merge a part of the index, in a transaction of the caller's; return whether there is more to do.

    Args:
        database: in a transaction.
        begin: whether this is the first step, which chooses all of the index.
    """
    changed = database.total_changes
    pages = -_MERGED_PAGES if begin else _MERGED_PAGES
    database.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (pages,))
    return database.total_changes - changed >= 2  # fts5.html, 6.6: fewer mean that nothing was done


def unclean(database: sqlite3.Connection) -> int:
    """Return 0 if nothing is left on the disk of what was removed, else a number that removals change."""
    found = database.execute("SELECT value FROM marks WHERE mark = 'unclean'").fetchone()
    return int(found[0]) if found else 0


def mark_clean(database: sqlite3.Connection, cleaned: int) -> bool:
    """Note that nothing is left, unless more was removed since `unclean` was read; return False."""
    database.execute("UPDATE marks SET value = 0 WHERE mark = 'unclean' AND value = ?", (cleaned,))
    return False


def _choose(database: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Put rows into the table `chosen`, which this connection alone sees."""
    database.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (row INTEGER PRIMARY KEY)")
    database.execute("DELETE FROM chosen")
    database.executemany("INSERT INTO chosen VALUES (?)", [(row,) for row in rows])


def _empty(database: sqlite3.Connection, change: str) -> None:
    """Remove the chosen messages' text from the table, and from the index, which has the table's words."""
    database.execute(_UNINDEX, (indexed(database),))
    _count_out(database, "length(CAST(text AS BLOB))")
    database.execute(f"UPDATE messages SET {change} WHERE row IN ({_CHOSEN})")  # noqa: S608
    database.execute(_INDEX, (indexed(database),))
    database.execute("INSERT INTO marks VALUES ('unclean', 1) ON CONFLICT DO UPDATE SET value = value + 1")


def _count_out(database: sqlite3.Connection, size: str) -> None:
    """Take the size of the chosen messages out of the sums of their rooms."""
    database.execute(
        f"UPDATE rooms SET bytes = max(0, bytes - gone.size) FROM (SELECT room AS of, sum({size}) AS size"  # noqa: S608
        f" FROM messages WHERE row IN ({_CHOSEN}) GROUP BY room) AS gone WHERE rooms.room = gone.of"
    )


def _too_old(database: sqlite3.Connection, limit: float, most: int) -> list[int]:
    """Return rows from before a time, the first of the table. One that is newer ends the search."""
    chosen = []
    for row, at in database.execute("SELECT row, at FROM messages ORDER BY row LIMIT ?", (most,)):
        if at >= limit:
            break
        chosen.append(row)
    return chosen


def _too_much(database: sqlite3.Connection, bounds: Bounds, most: int) -> list[int]:
    """Return the first rows of a room that is too large, or of all if they are."""
    room = database.execute("SELECT room, bytes FROM rooms WHERE bytes > ? LIMIT 1", (bounds.room_size,))
    values: tuple[str | int, ...] = ()
    if (found := room.fetchone()) is not None:
        values, excess = (found[0],), found[1] - bounds.room_size
        query = f"SELECT row, {COST} FROM messages WHERE room = ? ORDER BY number LIMIT ?"  # noqa: S608
    else:
        (total,) = database.execute("SELECT coalesce(sum(bytes), 0) FROM rooms").fetchone()
        excess = total - bounds.size
        query = f"SELECT row, {COST} FROM messages ORDER BY row LIMIT ?"  # noqa: S608
    chosen: list[int] = []
    if excess > 0:
        for row, size in database.execute(query, (*values, most)):
            chosen.append(row)
            excess -= size
            if excess <= 0:
                break
    return chosen


def _forget_rooms(database: sqlite3.Connection, most: int) -> None:
    """Forget rooms without messages, beyond a number of them, by their names."""
    (count,) = database.execute("SELECT count(*) FROM rooms").fetchone()
    if count > most:
        database.execute(
            "DELETE FROM rooms WHERE room IN (SELECT room FROM rooms WHERE NOT EXISTS"
            " (SELECT 1 FROM messages WHERE messages.room = rooms.room) LIMIT ?)",
            (count - most,),
        )
