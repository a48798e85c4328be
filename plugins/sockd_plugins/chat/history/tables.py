"""Tables of the database.

The text of a message that was removed is empty. Names of rooms are folded, as all spellings of a name are one
room. Rows have the order in which messages were stored, over all rooms.
"""

from __future__ import annotations

from pathlib import Path

from sockd_plugins.chat.hub.events import Said
from sockd_plugins.database import Database

FILE = "history.sqlite"

VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS rooms (
    room TEXT PRIMARY KEY, name TEXT NOT NULL, last INTEGER NOT NULL, bytes INTEGER NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0, hidden INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    row INTEGER PRIMARY KEY AUTOINCREMENT, room TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
    kind TEXT NOT NULL, name TEXT NOT NULL, account TEXT NOT NULL, text TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS place ON messages (room, number);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    room, text, content = 'messages', content_rowid = 'row', tokenize = 'unicode61 remove_diacritics 2');
CREATE TABLE IF NOT EXISTS marks (mark TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (
    change INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, room TEXT NOT NULL, number INTEGER NOT NULL,
    name TEXT NOT NULL, reason TEXT NOT NULL);
"""
# `rooms.last` outlives the messages, so that no number is used twice. `rooms.bytes` is the sum of `cost`.
# `rooms.closed` is 1 while not everybody may enter, `rooms.hidden` the number of the last message that people
# are not shown, as it was said in a room that was closed then.
# `marks` has "indexed", the last row that `words` knows, and "unclean", above 0 while removed text may be on
# the disk.
# `changes` tells a daemon what a command has removed beside it.

_SETTINGS = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # pages of what was removed go back to the disk, without a pause
    "PRAGMA secure_delete = ON",  # and are overwritten
    "PRAGMA wal_autocheckpoint = 0",  # `upkeep` does it, when nobody waits
)

OVERHEAD = 100
"""Bytes of a message besides its text and name, about: columns, indexes, the words of the search."""

COST = f"{OVERHEAD} + length(CAST(name AS BLOB)) + length(CAST(text AS BLOB))"
"""Bytes of a message, in SQL; `cost` is the same in Python."""


def cost(said: Said) -> int:
    """Return the bytes that a message takes, about."""
    text = said.text
    return OVERHEAD + len(said.name) + (len(text) if text.isascii() else len(text.encode()))


def database_in(folder: Path) -> Database:
    """Return the database in the state folder of a service; it is made when it is first changed."""
    return Database(folder / FILE, _TABLES, version=VERSION, settings=_SETTINGS)
