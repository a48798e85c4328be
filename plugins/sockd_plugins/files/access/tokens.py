"""Drop tokens: each lets whoever has it send so many bytes or files until some time.

They are in an SQLite database in the service's state folder, which the workers and `sockd files` share. A
token itself is not in it, only its hash. A file is counted durably before it is published, by the id of its
upload: a crash between the two costs nothing, because the same upload is not counted again, and no crash ever
gives more than was granted.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock

from sockd_plugins.files.access.credentials import make_token
from sockd_plugins.files.storage.refused import FileRefused

FILE = "tokens.sqlite"

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, folder TEXT NOT NULL, note TEXT NOT NULL,
    max_size INTEGER, max_files INTEGER, made REAL NOT NULL, until REAL, ended REAL,
    size INTEGER NOT NULL DEFAULT 0, files INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS spent (upload TEXT PRIMARY KEY, token TEXT NOT NULL);
"""

_BUSY_SECONDS = 10.0  # for another process, which needs milliseconds

_REMEMBERED = 1000
"""Uploads of a token that are not counted again. Only those come back that a crash has met in publishing."""

_DIGITS = 8  # of an id; it names a token and opens nothing


@dataclass(frozen=True, slots=True)
class Token:
    """Token as the database has it.

    Attributes:
        id: name of the token for the operator and the ledger.
        folder: of its files within the directory; "" for none of its own.
        note: for the operator.
        max_size: bytes that it may send in all; None for any number.
        max_files: files that it may send in all; None for any number.
        made: time of its creation.
        until: time of its end; None for never.
        ended: time at which the operator has ended it; None if that did not happen.
        size: bytes that it has sent.
        files: files that it has sent.
    """

    id: str
    folder: str
    note: str
    max_size: int | None
    max_files: int | None
    made: float
    until: float | None
    ended: float | None
    size: int = 0
    files: int = 0

    def check(self, now: float) -> None:
        """Refuse a token that is at its end.

        Raises:
            FileRefused: it has ended, has expired or is used up.
        """
        if self.ended is not None:
            raise FileRefused("expired", f"the token {self.id} was ended")
        if self.until is not None and now >= self.until:
            raise FileRefused("expired", f"the token {self.id} has expired")
        if self.max_files is not None and self.files >= self.max_files:
            sent = f"{self.files} of {_files(self.max_files)}"
            raise FileRefused("expired", f"the token {self.id} is used up: {sent} sent")

    def check_size(self, size: int, files: int = 1) -> None:
        """Refuse more than the token may still send.

        Raises:
            FileRefused: with the numbers.
        """
        if self.max_size is not None and self.size + size > self.max_size:
            raise FileRefused(
                "quota",
                f"the token {self.id} may send {self.max_size} bytes: {self.size} are sent,"
                f" and {size} more do not fit",
            )
        if self.max_files is not None and self.files + files > self.max_files:
            raise FileRefused(
                "quota", f"the token {self.id} may send {_files(self.max_files)}: {self.files} are sent"
            )


_COLUMNS = ", ".join(field.name for field in fields(Token))


class Tokens:
    """Tokens of one service. Every call waits for the disk.

    Args:
        folder: the service's state folder; made with the first token.
        now: returns the date, in seconds.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._path = folder / FILE
        self._now = now
        self._lock = Lock()  # for the threads that share the connection
        self._opened: tuple[sqlite3.Connection, tuple[int, int]] | None = None

    def make(
        self,
        *,
        folder: str = "",
        note: str = "",
        max_size: int | None = None,
        max_files: int | None = None,
        seconds: float | None = None,
    ) -> tuple[str, Token]:
        """Make a token; return its text, which is kept nowhere, and what is kept.

        Raises:
            OSError: the database cannot be written.
        """
        _make_folder(self._path)
        text, now = make_token(), self._now()
        hashed = _hash(text)
        until = None if seconds is None else now + seconds
        token = Token(hashed.hex()[:_DIGITS], folder, note, max_size, max_files, now, until, None)
        with self._changing(create=True) as database:
            database.execute(
                f"INSERT INTO tokens (hash, {_COLUMNS}) VALUES (?{', ?' * len(fields(Token))})",  # noqa: S608
                (hashed, *(getattr(token, field.name) for field in fields(Token))),
            )
        return text, token

    def find(self, text: str) -> Token:
        """Return the token of a text.

        Raises:
            FileRefused: there is none, or it is at its end.
        """
        token = self._one("hash", _hash(text))
        if token is None:
            raise FileRefused("denied", "there is no such token")
        token.check(self._now())
        return token

    def get(self, id: str) -> Token | None:  # noqa: A002
        """Return the token of an id; None if there is none."""
        return self._one("id", id)

    def list(self) -> list[Token]:
        """Return all tokens, the oldest first."""
        with self._lock, _as_os_error():
            database = self._database()
            if database is None:
                return []
            return [Token(*row) for row in database.execute(f"SELECT {_COLUMNS} FROM tokens ORDER BY made")]  # noqa: S608

    def end(self, id: str) -> bool:  # noqa: A002
        """End a token; return False if there is none."""
        with self._changing() as database:
            changed = database.execute(
                "UPDATE tokens SET ended = coalesce(ended, ?) WHERE id = ?", (self._now(), id)
            )
            return changed.rowcount > 0

    def spend(self, id: str, upload: str, size: int) -> bool:  # noqa: A002
        """Count a file that is about to be published, durably.

        Args:
            id: of the token.
            upload: the id of the upload.
            size: in bytes.

        Returns:
            False if this upload was counted before a crash.

        Raises:
            FileRefused: it is more than was granted, or the token was ended.
        """
        with self._changing() as database:
            if database.execute("SELECT 1 FROM spent WHERE upload = ?", (upload,)).fetchone():
                return False
            row = database.execute(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (id,)).fetchone()  # noqa: S608
            if row is None:
                raise FileRefused("denied", f"there is no token {id} any more")
            token = Token(*row)
            token.check(0.0)  # an upload that has begun in time may end later
            token.check_size(size)
            database.execute("UPDATE tokens SET size = size + ?, files = files + 1 WHERE id = ?", (size, id))
            database.execute("INSERT INTO spent VALUES (?, ?)", (upload, id))
            database.execute(
                "DELETE FROM spent WHERE token = ? AND rowid NOT IN"
                " (SELECT rowid FROM spent WHERE token = ? ORDER BY rowid DESC LIMIT ?)",
                (id, id, _REMEMBERED),
            )
            return True

    def give_back(self, id: str, upload: str, size: int) -> None:  # noqa: A002
        """Undo `spend`, as the file could not be published."""
        with self._changing() as database:
            if database.execute("DELETE FROM spent WHERE upload = ?", (upload,)).rowcount:
                database.execute(
                    "UPDATE tokens SET size = size - ?, files = files - 1 WHERE id = ?", (size, id)
                )

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._close()

    def _one(self, column: str, value: object) -> Token | None:
        with self._lock, _as_os_error():
            database = self._database()
            if database is None:
                return None
            row = database.execute(f"SELECT {_COLUMNS} FROM tokens WHERE {column} = ?", (value,)).fetchone()  # noqa: S608
            return None if row is None else Token(*row)

    @contextmanager
    def _changing(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """Open a transaction, which is durable at the end of the context and undone by an exception."""
        with self._lock, _as_os_error():
            database = self._database(create=create)
            if database is None:
                raise FileRefused("denied", "there are no tokens")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.rollback()
                raise
            database.commit()

    def _database(self, *, create: bool = False) -> sqlite3.Connection | None:
        """Return the open database; None if there is none. A file that was replaced is opened again."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._close()
            if not create:
                return None
            found = _make_file(self._path)
        identity = found.st_dev, found.st_ino
        if self._opened is None or self._opened[1] != identity:
            self._close()
            self._opened = _open(self._path), identity
        return self._opened[0]

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[0].close()


class TokenGrant:
    """Grant of a token: what it may still send.

    Args:
        tokens: the database.
        id: of the token.
    """

    def __init__(self, tokens: Tokens, id: str) -> None:  # noqa: A002
        self._tokens = tokens
        self._id = id

    def admit(self, size: int | None) -> None:
        """Refuse an upload that the token does not cover, before its first byte.

        Args:
            size: bytes that were announced; None if unknown.

        Raises:
            FileRefused: it is more than is left of the token, or the token is at its end.
        """
        token = self._tokens.get(self._id)
        if token is None:
            raise FileRefused("denied", f"there is no token {self._id} any more")
        token.check(time.time())
        token.check_size(size or 0)

    @contextmanager
    def spend(self, upload: str, size: int) -> Iterator[None]:
        """Count a file while it is published in this context; an exception undoes that."""
        counted = self._tokens.spend(self._id, upload, size)
        try:
            yield
        except BaseException:
            if counted:
                self._tokens.give_back(self._id, upload, size)
            raise


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Turn an error of the database into one of the disk, which protocols and commands know."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"the tokens cannot be read or written: {error}") from error


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _files(number: int) -> str:
    return f"{number} file{'s' * (number != 1)}"


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")  # a commit costs one synchronization
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_TABLES)
    except BaseException:
        database.close()
        raise
    return database


def _make_folder(path: Path) -> None:
    """Make the folder of the database, if it is missing, for the owner of the folder above it."""
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        folder.mkdir(0o700)
        _give(folder)


def _make_file(path: Path) -> os.stat_result:
    """Make an empty file that only the owner of its folder can read."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        _give(path)
        return os.fstat(file)
    finally:
        os.close(file)


def _give(path: Path) -> None:
    """Give what root has made to the owner of its folder, the daemon's user."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
