"""Outbox: notices of received files that no recipient has taken yet.

They are in an SQLite database in the service's state folder, which the workers share. A notice is there,
durably, before its file has a name, so that a crash at any moment leaves either both or a notice without a
file, which is dropped. The process that has received the file delivers the notice; if it does not do so
within a minute, another one may. A notice that was being delivered when its process was killed is delivered
again after the time that a delivery may take.

Every call waits for the disk.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from sockd_plugins.database import Database
from sockd_plugins.files.notices.notice import Notice
from sockd_plugins.files.storage.names import candidates

FILE = "outbox.sqlite"

_OWN_SECONDS = 60.0
"""Seconds for which a notice belongs to the process that has written it, before another one may take it."""

LONGEST_PAUSE = 3600.0
"""Seconds between two attempts at most. A notice that is due later than that was there before the clock of
the machine was set back."""

_UNNAMED_SECONDS = 3600.0
"""Seconds after which a notice is dropped whose file has no name: publishing takes less on any disk."""

_NOTICE = ", ".join(field.name for field in fields(Notice))
_TABLE = f"""
CREATE TABLE IF NOT EXISTS notices (
    {_NOTICE}, recipient TEXT NOT NULL, inode INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, PRIMARY KEY (id, recipient));
CREATE INDEX IF NOT EXISTS due ON notices (recipient, due);
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """Notice that this process has taken.

    Attributes:
        recipient: who is to be told.
        notice: with the name that the file has got.
        attempts: that have failed.
    """

    recipient: str
    notice: Notice
    attempts: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Notice that waits.

    Attributes:
        recipient: who is to be told.
        notice: with the name that the file was to get.
        attempts: that have failed.
        due: Unix time of the next one, or of the end of one that runs.
    """

    recipient: str
    notice: Notice
    attempts: int
    due: float


class Outbox:
    """Notices of one service; `close` ends it.

    Args:
        folder: the service's state folder, made if it is missing.
        directory: the folder with the received files.
        recipients: names of those who are told of each file, and the seconds that this may take.
        now: returns the date, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        directory: Path,
        recipients: Mapping[str, float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._recipients = recipients
        self._now = now
        self._database = Database(folder / FILE, _TABLE)

    def write(self, notice: Notice, inode: int) -> None:
        """Write the notice of a file that is about to get its name; it survives a power cut.

        A notice of the same upload, which a crash has met before its file had a name, is replaced.

        Args:
            notice: with the name that the file is to get.
            inode: number of the file, by which it is found under a name with a number.
        """
        due = self._now() + _OWN_SECONDS
        columns = f"{_NOTICE}, recipient, inode, due"
        values = ", ".join("?" * (len(fields(Notice)) + 3))
        with self._changing() as database:
            database.executemany(
                f"INSERT OR REPLACE INTO notices ({columns}) VALUES ({values})",  # noqa: S608
                [(*astuple(notice), recipient, inode, due) for recipient in self._recipients],
            )

    def withdraw(self, id: str) -> None:  # noqa: A002
        """Remove the notices of a file that did not get a name."""
        with self._changing() as database:
            database.execute("DELETE FROM notices WHERE id = ?", (id,))

    def drop_others(self) -> None:
        """Remove the notices for those who are not to be told any more."""
        others = ", ".join("?" * len(self._recipients))
        with self._database.changing() as database:
            if database is not None:
                database.execute(
                    f"DELETE FROM notices WHERE recipient NOT IN ({others})",  # noqa: S608
                    tuple(self._recipients),
                )

    def claim_file(self, recipient: str, id: str) -> Sequence[Claim]:  # noqa: A002
        """Take the notice of one file, which this process has written just now."""
        return self._claim(recipient, "id = ? AND NOT claimed", id)

    def claim_due(self, recipient: str, most: int) -> Sequence[Claim]:
        """Take notices that are due, at most so many."""
        now = self._now()
        latest = now + max(LONGEST_PAUSE + _OWN_SECONDS, self._held(recipient))
        return self._claim(recipient, "(due <= ? OR due > ?) ORDER BY due LIMIT ?", now, latest, most)

    def postpone(self, claim: Claim, seconds: float) -> None:
        """Leave a notice to the next attempt, after some time."""
        with self._changing() as database:
            database.execute(
                "UPDATE notices SET due = ?, attempts = ? WHERE id = ? AND recipient = ?",
                (self._now() + seconds, claim.attempts + 1, claim.notice.id, claim.recipient),
            )

    def remove(self, claim: Claim) -> None:
        """Remove a notice that was delivered, or given up."""
        with self._changing() as database:
            database.execute(
                "DELETE FROM notices WHERE id = ? AND recipient = ?", (claim.notice.id, claim.recipient)
            )

    def list(self) -> Sequence[Waiting]:
        """List what waits, the next one first."""
        with self._database.reading() as database:
            if database is None:
                return []
            found = database.execute(f"SELECT {_NOTICE}, recipient, attempts, due FROM notices ORDER BY due")  # noqa: S608
            return [Waiting(who, Notice(*row), attempts, due) for *row, who, attempts, due in found]

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _held(self, recipient: str) -> float:
        """Return the seconds for which a notice that was taken belongs to this process."""
        return self._recipients[recipient] + _OWN_SECONDS

    def _claim(self, recipient: str, where: str, *values: object) -> Sequence[Claim]:
        """Take notices whose files have a name, for some time; drop those whose files never got one."""
        query = f"SELECT {_NOTICE}, attempts, inode FROM notices WHERE recipient = ? AND {where}"  # noqa: S608
        now, claims = self._now(), []
        with self._changing() as database:
            for *row, attempts, inode in database.execute(query, (recipient, *values)).fetchall():
                notice = Notice(*row)
                path = self._find(notice, inode)
                if path is not None:
                    claims.append(Claim(recipient, replace(notice, path=path), attempts))
                elif now - notice.time > _UNNAMED_SECONDS:
                    database.execute("DELETE FROM notices WHERE id = ?", (notice.id,))
                database.execute(
                    "UPDATE notices SET due = ?, claimed = 1 WHERE id = ? AND recipient = ?",
                    (now + self._held(recipient), notice.id, recipient),
                )
        return claims

    def _find(self, notice: Notice, inode: int) -> str | None:
        """Return the path of a file, whose name may have a number; None if it has no name."""
        within, slash, name = notice.path.rpartition("/")
        for candidate in candidates(name):
            with suppress(OSError):
                status = os.lstat(self._directory / within / candidate)
                if (status.st_ino, status.st_size) == (inode, notice.size):
                    return within + slash + candidate
        return None

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._database.changing(create=True) as database:
            assert database is not None  # noqa: S101  # it was made
            yield database
