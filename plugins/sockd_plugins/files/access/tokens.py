"""Drop tokens: each lets whoever has it send so many bytes or files until some time.

They are in an SQLite database in the service's state folder, which the workers and `sockd files` share. A
token itself is not in it, only its hash. A file is counted durably before it is published, by the id of its
upload: a crash between the two costs nothing, because the same upload is not counted again, and no crash ever
gives more than was granted.

A sender that has lost the answer may send the same file again when the token is used up, or has just expired.
The file is known by its name, size and digest, and is not counted again.

Tokens that are at their end are listed for a month, and removed when another one is made.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from sockd_plugins.database import Database
from sockd_plugins.files.access.credentials import make_token
from sockd_plugins.files.storage.refused import FileRefused

FILE = "tokens.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, folder TEXT NOT NULL, note TEXT NOT NULL,
    max_size INTEGER, max_files INTEGER, made REAL NOT NULL, until REAL, ended REAL,
    size INTEGER NOT NULL DEFAULT 0, files INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS sent (
    upload TEXT PRIMARY KEY, token TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    digest TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS sent_names ON sent (token, name);
DROP TABLE IF EXISTS spent;
"""

_REMEMBERED = 1000
"""Files of a token that are not counted again. Those come back that a crash has met in publishing, or whose
sender has lost the answer."""

_ATTEMPTS = 4
"""Times as much as is left of a token that its unfinished uploads may be together."""

_AGAIN_SECONDS = 86400.0
"""Seconds after the expiry of a token in which its files may come again: as long as clients try."""

_LISTED_SECONDS = 30 * 86400.0
"""Seconds for which a token that has ended or expired is kept for the operator."""

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
        """Refuse a token that is at its end. With one that is used up, a file may be sent again.

        Raises:
            FileRefused: it has ended or has expired.
        """
        if self.ended is not None:
            raise FileRefused("expired", f"the token {self.id} was ended")
        if self.until is not None and now >= self.until:
            raise FileRefused("expired", f"the token {self.id} has expired")

    def is_late(self, now: float) -> bool:
        """Tell whether it has expired so recently that its files may come again."""
        return self.ended is None and self.until is not None and 0 <= now - self.until < _AGAIN_SECONDS

    def check_size(self, size: int) -> None:
        """Refuse more than the token may still send.

        Raises:
            FileRefused: with the numbers.
        """
        if self.max_files is not None and self.files >= self.max_files:
            sent = f"{self.files} of {_files(self.max_files)}"
            raise FileRefused("expired", f"the token {self.id} is used up: {sent} sent")
        if self.max_size is not None and self.size + size > self.max_size:
            raise FileRefused(
                "quota",
                f"the token {self.id} may send {self.max_size} bytes: {self.size} are sent,"
                f" and {size} more do not fit",
            )

    def check_coming(self, size: int, coming: Sequence[int]) -> None:
        """Refuse more unfinished uploads than a sender needs who tries again and again.

        Args:
            size: bytes of one more.
            coming: sizes of those that run, or wait to go on.

        Raises:
            FileRefused: with the numbers.
        """
        sent = sum(coming)
        if self.max_size is not None and sent + size > _ATTEMPTS * (self.max_size - self.size):
            raise FileRefused(
                "quota",
                f"the token {self.id} has {sent} bytes unfinished, {size} more do not fit: go on with one",
            )
        if self.max_files is not None and len(coming) >= _ATTEMPTS * (self.max_files - self.files):
            raise FileRefused(
                "too-many", f"the token {self.id} has {_files(len(coming))} unfinished: go on with one"
            )


_COLUMNS = ", ".join(field.name for field in fields(Token))


class Tokens:
    """Tokens of one service. Every call waits for the disk.

    Args:
        folder: the service's state folder; made with the first token.
        now: returns the date, in seconds.

    Attributes:
        now: as given.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._database = Database(folder / FILE, _TABLES)
        self.now = now

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

        Tokens that were at their end for a month are removed.

        Raises:
            OSError: the database cannot be written.
        """
        text, now = make_token(), self.now()
        hashed = _hash(text)
        until = None if seconds is None else now + seconds
        token = Token(hashed.hex()[:_DIGITS], folder, note, max_size, max_files, now, until, None)
        with self._database.changing(create=True) as database:
            assert database is not None  # noqa: S101  # it was created
            database.execute("DELETE FROM tokens WHERE coalesce(ended, until) < ?", (now - _LISTED_SECONDS,))
            database.execute("DELETE FROM sent WHERE token NOT IN (SELECT id FROM tokens)")
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
        token = self.find_again(text)
        token.check(self.now())
        return token

    def find_again(self, text: str) -> Token:
        """Return the token of a text, also one that has just expired: its files may come again.

        Raises:
            FileRefused: there is none, or it is at its end.
        """
        token = self._one("hash", _hash(text))
        if token is None:
            raise FileRefused("denied", "there is no such token")
        if not token.is_late(self.now()):
            token.check(self.now())
        return token

    def get(self, id: str) -> Token | None:  # noqa: A002
        """Return the token of an id; None if there is none."""
        return self._one("id", id)

    def list(self) -> list[Token]:
        """Return all tokens, the oldest first."""
        with self._database.reading() as database:
            if database is None:
                return []
            return [Token(*row) for row in database.execute(f"SELECT {_COLUMNS} FROM tokens ORDER BY made")]  # noqa: S608

    def end(self, id: str) -> bool:  # noqa: A002
        """End a token; return False if there is none."""
        with self._database.changing() as database:
            if database is None:
                return False
            changed = database.execute(
                "UPDATE tokens SET ended = coalesce(ended, ?) WHERE id = ?", (self.now(), id)
            )
            return changed.rowcount > 0

    def spend(self, id: str, upload: str, name: str, size: int, digest: str) -> bool:  # noqa: A002
        """Count a file that is about to be published, durably.

        Args:
            id: of the token.
            upload: the id of the upload.
            name: that the sender has given the file.
            size: in bytes.
            digest: of the file.

        Returns:
            False if this upload was counted before a crash.

        Raises:
            FileRefused: it is more than was granted, or the token was ended.
        """
        with self._database.changing() as database:
            if database is None:
                raise FileRefused("denied", f"there is no token {id} any more")
            if database.execute("SELECT 1 FROM sent WHERE upload = ?", (upload,)).fetchone():
                return False
            row = database.execute(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (id,)).fetchone()  # noqa: S608
            if row is None:
                raise FileRefused("denied", f"there is no token {id} any more")
            token = Token(*row)
            token.check(0.0)  # an upload that has begun in time may end later
            token.check_size(size)
            database.execute("UPDATE tokens SET size = size + ?, files = files + 1 WHERE id = ?", (size, id))
            database.execute("INSERT INTO sent VALUES (?, ?, ?, ?, ?)", (upload, id, name, size, digest))
            database.execute(
                "DELETE FROM sent WHERE token = ? AND rowid NOT IN"
                " (SELECT rowid FROM sent WHERE token = ? ORDER BY rowid DESC LIMIT ?)",
                (id, id, _REMEMBERED),
            )
            return True

    def give_back(self, id: str, upload: str, size: int) -> None:  # noqa: A002
        """Undo `spend`, as the file could not be published."""
        with self._database.changing() as database:
            if database is None:
                return
            if database.execute("DELETE FROM sent WHERE upload = ?", (upload,)).rowcount:
                database.execute(
                    "UPDATE tokens SET size = size - ?, files = files - 1 WHERE id = ?", (size, id)
                )

    def sent(self, id: str, name: str) -> set[tuple[int, str]]:  # noqa: A002
        """Return size and digest of each file of a name that was counted for a token."""
        with self._database.reading() as database:
            if database is None:
                return set()
            found = database.execute("SELECT size, digest FROM sent WHERE token = ? AND name = ?", (id, name))
            return set(found)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _one(self, column: str, value: object) -> Token | None:
        with self._database.reading() as database:
            if database is None:
                return None
            row = database.execute(f"SELECT {_COLUMNS} FROM tokens WHERE {column} = ?", (value,)).fetchone()  # noqa: S608
            return None if row is None else Token(*row)


class TokenGrant:
    """Grant of a token: what it may still send.

    Args:
        tokens: the database.
        id: of the token.
        late: whether the sender has come after its expiry, and may only send again what it has sent.
    """

    def __init__(self, tokens: Tokens, id: str, *, late: bool = False) -> None:  # noqa: A002
        self._tokens = tokens
        self._id = id
        self._late = late

    def admit(self, name: str, size: int, coming: Sequence[int]) -> None:
        """Implement `Grant.admit`. Unfinished uploads may be more than is left, as senders try again."""
        token = self._tokens.get(self._id)
        if token is None:
            raise FileRefused("denied", f"there is no token {self._id} any more")
        now = self._tokens.now()
        if not token.is_late(now):
            token.check(now)
        try:
            token.check(now)
            token.check_size(size)
            token.check_coming(size, coming)
        except FileRefused:
            if not self._may_come_again(name, size, coming):
                raise

    def _may_come_again(self, name: str, size: int, coming: Sequence[int]) -> bool:
        """Tell whether a file may be one that was sent; a few uploads at once may be."""
        sizes = [sent for sent, _ in self._tokens.sent(self._id, name) if sent >= size]
        return bool(sizes) and sum(coming) + size <= _ATTEMPTS * max(sizes) and len(coming) < _ATTEMPTS

    def go_on(self) -> None:
        """Implement `Grant.go_on`."""
        if self._late:
            raise FileRefused("expired", f"the token {self._id} has expired")

    def has_sent(self, name: str, size: int, digest: str) -> bool:
        """Implement `Grant.has_sent`."""
        return (size, digest) in self._tokens.sent(self._id, name)

    @contextmanager
    def spend(self, upload: str, name: str, size: int, digest: str) -> Iterator[None]:
        """Implement `Grant.spend`."""
        self.go_on()
        counted = self._tokens.spend(self._id, upload, name, size, digest)
        try:
            yield
        except BaseException:  # whatever it was, a file without a name is not counted
            if counted:
                self._tokens.give_back(self._id, upload, size)
            raise


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _files(number: int) -> str:
    return f"{number} file{'s' * (number != 1)}"
