"""SQLite databases in the service's state folder, which several processes share and no crash damages.

`Database` waits for the disk in each call, so it is used in threads and by commands.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from sockd_plugins.own_files import give_to_owner, make_folder

_BUSY_SECONDS = 10.0  # for another process, which needs milliseconds

_NUMBERS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
    sqlite3.SQLITE_READONLY: errno.EROFS,
}

_ADVICE = {
    sqlite3.SQLITE_CORRUPT: "; move it away, and a new one is begun",
    sqlite3.SQLITE_NOTADB: "; move it away, and a new one is begun",
}


class DatabaseError(OSError):
    """Error of a database; its text has no path, and may be told to peers."""


class Database:
    """Database that is opened when it is needed, and again if its file was replaced. Calls wait for the disk.

    Those that read do not wait for those that change it, here or in another process.

    Args:
        path: its file; made, with its folder, by the first change that may create it.
        tables: statements that make the tables if they are missing.
        version: version of the tables; a file of a later one is refused. 0 for tables without versions.
        settings: statements for each connection, before it looks at the file.
    """

    def __init__(self, path: Path, tables: str, *, version: int = 0, settings: Sequence[str] = ()) -> None:
        self._path = path
        self._reader = _Connection(path, tables, version, settings)
        self._writer = _Connection(path, tables, version, settings)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Open the database to read it; None if there is none.

        Raises:
            OSError: it cannot be read.
        """
        with self._reader.lock, self._as_os_error():
            yield self._reader.opened(create=False)

    @contextmanager
    def changing(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        """Open a transaction, which is durable at the end of the context, and undone by an exception.

        Args:
            create: whether to make the database; else the result is None if there is none.

        Raises:
            OSError: it cannot be written.
        """
        with self._writer.lock, self._as_os_error():
            connection = self._writer.opened(create=create)
            if connection is None:
                yield None
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:  # whatever it was, nothing of it is kept
                with suppress(sqlite3.Error):  # a disk that fails here too has failed already
                    connection.rollback()
                if connection.in_transaction:
                    self._writer.close()
                raise

    @contextmanager
    def upkeep(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        """Give the connection that changes it, without a transaction.

        Args:
            create: whether to make the database; else the result is None if there is none.

        Raises:
            OSError: it cannot be used.
        """
        with self._writer.lock, self._as_os_error():
            yield self._writer.opened(create=create)

    def close(self) -> None:
        """Close the database."""
        for connection in (self._reader, self._writer):
            with connection.lock:
                connection.close()

    @contextmanager
    def _as_os_error(self) -> Iterator[None]:
        """Turn an error of the database into one of the disk, which protocols and commands know."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            number = _NUMBERS.get(code, errno.EIO)
            why = f"the database {self._path.name} cannot be used: {error}{_ADVICE.get(code, '')}"
            raise DatabaseError(number, why, str(self._path)) from error


class _Connection:
    """Connection that several threads share.

    Attributes:
        lock: for who uses it.
    """

    def __init__(self, path: Path, tables: str, version: int, settings: Sequence[str]) -> None:
        self.lock = Lock()
        self._path = path
        self._tables = tables
        self._version = version
        self._settings = settings
        self._opened: tuple[sqlite3.Connection, tuple[int, int]] | None = None

    def opened(self, *, create: bool) -> sqlite3.Connection | None:
        """Return the connection to the file that is there now; None if there is none, and none is made."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self.close()
            if not create:
                return None
            make_folder(self._path.parent)
            found = _make_file(self._path)
        identity = found.st_dev, found.st_ino
        if self._opened is None or self._opened[1] != identity:
            self.close()
            self._opened = self._open(), identity
        return self._opened[0]

    def close(self) -> None:
        """Close it, until it is used again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[0].close()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            for statement in self._settings:
                database.execute(statement)
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > self._version:
                why = (
                    f"the database {self._path.name} has version {version}, and this program knows"
                    f" {self._version}; install the newer one, or move the file away"
                )
                raise DatabaseError(errno.EIO, why, str(self._path))
            database.execute("PRAGMA journal_mode = WAL")  # a commit costs one synchronization
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(self._tables)
            if version < self._version:
                database.execute(f"PRAGMA user_version = {self._version}")
        except BaseException:  # whatever it was, no descriptor stays
            database.close()
            raise
        return database


def _make_file(path: Path) -> os.stat_result:
    """Make an empty file that only the owner of its folder can read."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        give_to_owner(path)
        return os.fstat(file)
    finally:
        os.close(file)
