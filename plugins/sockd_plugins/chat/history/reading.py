"""Finding of messages by their numbers and times."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from sockd_plugins.chat.hub.events import REMOVED, Said
from sockd_plugins.chat.hub.names import fold

COLUMNS = "messages.number, messages.at, messages.kind, messages.name, messages.account, messages.text"

_LARGEST = 2**63 - 1


def latest(database: sqlite3.Connection, room: str, limit: int) -> tuple[int, Sequence[Said]]:
    """Return the number of a room's last message, 0 for none, and the last messages, at most `limit`."""
    found = database.execute("SELECT last FROM rooms WHERE room = ?", (fold(room),)).fetchone()
    return (0, ()) if found is None else (found[0], before(database, room, _LARGEST, limit))


def since(database: sqlite3.Connection, room: str, number: int, limit: int) -> Sequence[Said]:
    """Return the first messages of a room behind a number, at most `limit`."""
    return between(database, room, number, _LARGEST, limit)


def before(database: sqlite3.Connection, room: str, number: int, limit: int) -> Sequence[Said]:
    """Return the last messages of a room before a number, at most `limit`, the oldest first."""
    return between(database, room, 0, number, limit, last=True)


def between(
    database: sqlite3.Connection, room: str, low: int, high: int, limit: int, *, last: bool = False
) -> Sequence[Said]:
    """Return messages of a room between two numbers, which are not included, the oldest first.

    Args:
        database: to read.
        room: name of the room.
        low: number before the first one, bounded to what SQLite can hold.
        high: number after the last one, likewise.
        limit: messages at most.
        last: whether the last ones count rather than the first ones, if there are more.
    """
    order = "DESC" if last else "ASC"
    found = database.execute(
        f"SELECT {COLUMNS} FROM messages WHERE room = ?1 AND number < ?3"  # noqa: S608
        " AND number > max(?2, coalesce((SELECT hidden FROM rooms WHERE room = ?1), 0))"
        f" ORDER BY number {order} LIMIT ?4",
        (fold(room), _bounded(low), _bounded(high), max(limit, 0)),
    ).fetchall()
    return as_said(room, reversed(found) if last else found)


def place(database: sqlite3.Connection, room: str, at: float) -> tuple[int, int]:
    """Return the numbers of the last message before a time, and of the first one after it.

    Times count in whole milliseconds, as clients write them. If there is no message before it, the first
    number is that before the first one that is kept; if there is none after it, the second one is that after
    the last.

    Args:
        database: to read.
        room: name of the room.
        at: in seconds since 1970.
    """
    mark = round(at * 1000)
    return _first_from(database, room, mark) - 1, _first_from(database, room, mark + 1)


def as_said(room: str, rows: Iterable[Sequence[Any]]) -> Sequence[Said]:
    """Return rows of `COLUMNS` as messages of a room."""
    return tuple(
        Said(room, name, text or REMOVED, number, at, kind, account)
        for number, at, kind, name, account, text in rows
    )


def _first_from(database: sqlite3.Connection, room: str, mark: int) -> int:
    """Return the number of a room's first message at or after a time in milliseconds, by bisection.

    The times of a room rise with its numbers, unless the machine's clock was set back.
    """
    ends = database.execute("SELECT min(number), max(number) FROM messages WHERE room = ?", (fold(room),))
    first, final = ends.fetchone()
    if first is None:
        return 1
    low, high = first, final + 1
    while low < high:
        middle = (low + high) // 2
        number, at = database.execute(
            "SELECT number, at FROM messages WHERE room = ? AND number >= ? ORDER BY number LIMIT 1",
            (fold(room), middle),
        ).fetchone()
        if int(at * 1000) >= mark:
            high = middle
        else:
            low = number + 1
    return int(low)


def _bounded(number: int) -> int:
    return min(max(number, 0), _LARGEST)
