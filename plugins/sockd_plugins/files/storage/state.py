"""State of an upload that can be resumed: the offset that is durable, and what the sender has announced.

The file begins with the offset in 20 decimal digits and a line end. They are written in place, after the data
up to there was synchronized, and are synchronized themselves before a sender is told the offset. The rest is
JSON and never changes.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass

from sockd_plugins.files.storage.refused import FileRefused

SUFFIX = ".state"

_OFFSET = 20  # digits; 2**63 has 19
_MOST = 4096  # bytes of a state; a name has 200 at most


@dataclass(frozen=True, slots=True)
class Facts:
    """Announcement of a sender.

    Attributes:
        name: of the file, as `safe_name` returned it.
        size: in bytes; None if unknown.
        digest: what the protocol has to know of it to go on.
    """

    name: str
    size: int | None = None
    digest: str = "-"


class State:
    """State of one upload, open for writing.

    Args:
        file: its descriptor, which belongs to this object.
        facts: what was announced.
        durable: the offset.
    """

    def __init__(self, file: int, facts: Facts, durable: int = 0) -> None:
        self.facts = facts
        self.durable = durable
        self._file = file

    def record(self, durable: int) -> None:
        """Store the offset up to which the data is on the disk; it survives a power cut when this returns."""
        os.pwrite(self._file, b"%020d" % durable, 0)
        os.fdatasync(self._file)
        self.durable = durable

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            os.close(self._file)


def create_state(folder: int, id: str, facts: Facts) -> State:  # noqa: A002
    """Create the state of a new upload, durably but for its name.

    Raises:
        OSError: the disk fails; nothing is left then.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    file = os.open(id + SUFFIX, flags, 0o600, dir_fd=folder)
    try:
        os.pwrite(file, b"%020d\n" % 0 + json.dumps(asdict(facts)).encode(), 0)
        os.fsync(file)
    except OSError:
        os.close(file)
        with suppress(OSError):
            os.unlink(id + SUFFIX, dir_fd=folder)
        raise
    return State(file, facts)


def open_state(folder: int, id: str) -> State:  # noqa: A002
    """Open the state of an upload whose part is locked.

    Raises:
        FileRefused: a crash has left it unfinished.
        OSError: it cannot be opened.
    """
    file = os.open(id + SUFFIX, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        content = os.pread(file, _MOST, 0)
        return State(file, Facts(**json.loads(content[_OFFSET:])), int(content[:_OFFSET]))
    except (ValueError, TypeError):
        os.close(file)
        raise FileRefused("unknown", "the upload of this id cannot be resumed") from None
