"""Storing of messages."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Sequence

from sockd_plugins.chat.history.tables import cost
from sockd_plugins.chat.hub.events import Said
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.database import DatabaseError

_ROOM = """
INSERT INTO rooms (room, name, last, bytes) VALUES (?1, ?2, ?4, ?5)
ON CONFLICT (room) DO UPDATE SET last = ?4, bytes = bytes + ?5 WHERE last < ?3"""

_MESSAGE = """
INSERT INTO messages (room, number, at, kind, name, account, text) VALUES (?, ?, ?, ?, ?, ?, ?)"""


def store(database: sqlite3.Connection, said: Sequence[Said]) -> None:
    """Store messages, in a transaction of the caller's.

    Args:
        database: in a transaction.
        said: messages with rising numbers in each room.

    Raises:
        OSError: a room has a message of that number, or a later one.
    """
    rows = []
    firsts: dict[str, Said] = {}
    sizes: dict[str, int] = {}
    lasts: dict[str, int] = {}
    for each in said:
        room = fold(each.room)
        rows.append((room, each.number, each.at, each.kind, each.name, each.account, each.text))
        if room not in firsts:
            firsts[room], sizes[room] = each, 0
        sizes[room] += cost(each)
        lasts[room] = each.number
    for room, first in firsts.items():
        values = room, first.room, first.number, lasts[room], sizes[room]
        if database.execute(_ROOM, values).rowcount != 1:
            why = f"the history of {first.room} has a message {first.number} already"
            raise DatabaseError(errno.EEXIST, why)
    database.executemany(_MESSAGE, rows)
