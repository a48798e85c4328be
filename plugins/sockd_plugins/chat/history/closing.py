"""Rooms that not everybody may enter: what was said there is not shown to those who come later.

A room loses its modes with its last person, and with the end of the daemon. Whoever opens it then must not
read what was said behind a key.
"""

from __future__ import annotations

import sqlite3

from sockd_plugins.chat.hub.names import fold


def note_closed(database: sqlite3.Connection, room: str) -> None:
    """Note that not everybody may enter a room, in a transaction of the caller's."""
    database.execute(
        "INSERT INTO rooms (room, name, last, bytes, closed) VALUES (?, ?, 0, 0, 1)"
        " ON CONFLICT DO UPDATE SET closed = 1",
        (fold(room), room),
    )


def note_open(database: sqlite3.Connection, room: str) -> None:
    """Hide what was said in a room while it was closed, in a transaction of the caller's."""
    database.execute(
        "UPDATE rooms SET closed = 0, hidden = last WHERE closed AND room = ?",
        (fold(room),),
    )


def note_all_open(database: sqlite3.Connection) -> None:
    """Hide what was said in rooms that were closed when the daemon ended, as `note_open` does."""
    database.execute("UPDATE rooms SET closed = 0, hidden = last WHERE closed")
