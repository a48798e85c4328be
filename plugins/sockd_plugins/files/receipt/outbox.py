"""Outbox: errands that follow the receipt of a file, such as a webhook, each done once at least.

An errand is noted durably before the file is published, and becomes due afterwards. After a crash between the
two the next start finds the note, and looks whether the file is there. An errand that is taken is hidden from
the other workers for a while. It is removed when it is done, and due again later when it has failed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sockd_plugins.files.access.database import Database

FILE = "outbox.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS errands (
    number INTEGER PRIMARY KEY, upload TEXT NOT NULL, target TEXT NOT NULL, told TEXT NOT NULL,
    due REAL, tries INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS errands_by_time ON errands (due);
"""

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 3600.0
"""Seconds until an errand that has failed is tried again: doubled each time, up to an hour."""


@dataclass(frozen=True, slots=True)
class Errand:
    """Errand that is to be done.

    Attributes:
        number: in the outbox.
        target: what is to be done.
        told: about the file.
        tries: how often it has failed.
    """

    number: int
    target: str
    told: Mapping[str, Any]
    tries: int


class Outbox:
    """Outbox of one service. Every call waits for the disk.

    Args:
        folder: the service's state folder.
        targets: what is to be done for each file.
        now: returns the date, in seconds.
    """

    def __init__(self, folder: Path, targets: tuple[str, ...], now: Callable[[], float] = time.time) -> None:
        self._database = Database(folder / FILE, _TABLES)
        self._targets = targets
        self._now = now

    def note(self, upload: str, told: Mapping[str, Any]) -> None:
        """Note that a file is about to be published; its errands are not due yet.

        Args:
            upload: the id of the upload.
            told: what is known of the file, to find it after a crash.
        """
        with self._changing() as database:
            database.execute("DELETE FROM errands WHERE upload = ? AND due IS NULL", (upload,))
            database.executemany(
                "INSERT INTO errands (upload, target, told) VALUES (?, ?, ?)",
                [(upload, target, json.dumps(told)) for target in self._targets],
            )

    def release(self, upload: str, told: Mapping[str, Any]) -> None:
        """Make the errands of a published file due.

        Args:
            upload: the id of the upload.
            told: what the errands are about.
        """
        with self._changing() as database:
            database.execute(
                "UPDATE errands SET due = ?, told = ? WHERE upload = ? AND due IS NULL",
                (self._now(), json.dumps(told), upload),
            )

    def forget(self, upload: str) -> None:
        """Remove the errands of a file that was not published."""
        with self._changing() as database:
            database.execute("DELETE FROM errands WHERE upload = ? AND due IS NULL", (upload,))

    def unpublished(self) -> list[tuple[str, Mapping[str, Any]]]:
        """List the uploads whose publishing a crash may have interrupted, with what was noted."""
        with self._database.reading() as database:
            if database is None:
                return []
            rows = database.execute("SELECT DISTINCT upload, told FROM errands WHERE due IS NULL")
            return [(upload, json.loads(told)) for upload, told in rows]

    def take(self, seconds: float) -> Errand | None:
        """Take the errand that is due for longest, and hide it from others; None if none is due.

        Args:
            seconds: time after which it is due again, if it is not done until then.
        """
        with self._changing() as database:
            row = database.execute(
                "SELECT number, target, told, tries FROM errands WHERE due <= ? ORDER BY due LIMIT 1",
                (self._now(),),
            ).fetchone()
            if row is None:
                return None
            database.execute("UPDATE errands SET due = ? WHERE number = ?", (self._now() + seconds, row[0]))
            return Errand(row[0], row[1], json.loads(row[2]), row[3])

    def done(self, errand: Errand) -> None:
        """Remove an errand that was done."""
        with self._changing() as database:
            database.execute("DELETE FROM errands WHERE number = ?", (errand.number,))

    def failed(self, errand: Errand) -> float:
        """Put an errand off; return the seconds until it is due again."""
        pause = min(_FIRST_PAUSE * 2.0**errand.tries, _LONGEST_PAUSE)
        with self._changing() as database:
            database.execute(
                "UPDATE errands SET due = ?, tries = tries + 1 WHERE number = ?",
                (self._now() + pause, errand.number),
            )
        return pause

    def next_due(self) -> float | None:
        """Return the seconds until an errand is due; None if there is none."""
        with self._database.reading() as database:
            row = database and database.execute("SELECT min(due) FROM errands").fetchone()
            return None if not row or row[0] is None else max(0.0, row[0] - self._now())

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @contextmanager
    def _changing(self) -> Iterator[Any]:
        with self._database.changing(create=True) as database:
            yield database
