"""State of an upload that can be resumed: the offset that is durable, and what the sender has announced.

The file begins with the offset in 20 decimal digits and a line end. They are written in place, after the data
up to there was synchronized, and are synchronized themselves before a sender is told the offset. The last
line is JSON and never changes. The size is in the name of the part alone, because it may become known late.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from sockd_plugins.files.storage.names import safe_path
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender

SUFFIX = ".state"

_OFFSET = 20  # digits; 2**63 has 19

_MOST = 16384
"""Bytes of a state. A name has 1,000 at most, and the metadata of tus comes in a header of 8 KiB at most."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Announcement of a sender.

    Attributes:
        name: of the file, as `safe_name` or `safe_path` returned it.
        size: in bytes; None if unknown.
        digest: what the protocol has to know of it to go on.
        algorithm: of the running digest, one of `digests.RUNNING`.
        extra: what a protocol keeps with the upload; it survives a restart.
    """

    name: str
    size: int | None = None
    digest: str = "-"
    algorithm: str = "sha256"
    extra: Mapping[str, str] = field(default_factory=dict)


class State:
    """State of one upload, open for writing.

    Args:
        file: its descriptor, which belongs to this object.
        facts: what was announced.
        sender: who has announced it; without its grant.
        durable: the offset.
    """

    def __init__(self, file: int, facts: Facts, sender: Sender, durable: int = 0) -> None:
        self.facts = facts
        self.sender = sender
        self.durable = durable
        self._file = file

    def record(self, durable: int) -> None:
        """Store the offset up to which the data is on the disk; it survives a power cut when this returns."""
        os.pwrite(self._file, b"%020d" % durable, 0)
        os.fdatasync(self._file)
        self.durable = durable

    def sync(self) -> None:
        """Make the offset durable, whose process may have ended before it was."""
        os.fdatasync(self._file)

    def version(self) -> tuple[int, int]:
        """Return the offset that is in the file, and the time of its record: another process changes both."""
        return int(os.pread(self._file, _OFFSET, 0)), os.fstat(self._file).st_mtime_ns

    def cut(self, at: int | None) -> None:
        """Forget what has come behind an offset, before it is written anew; nothing if there is none.

        Raises:
            FileRefused: less has come than that.
        """
        if at is None:
            return
        if at > self.durable:
            raise FileRefused(
                "incomplete", f"expected data from byte {self.durable} or before, found byte {at}"
            )
        if at < self.durable:
            self.record(at)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            os.close(self._file)


def create_state(folder: int, id: str, facts: Facts, sender: Sender) -> State:  # noqa: A002
    """Create the state of a new upload, durably but for its name.

    Raises:
        FileRefused: there is more to keep than a state may have.
        OSError: the disk fails; nothing is left then.
    """
    kept = {
        "name": facts.name,
        "digest": facts.digest,
        "algorithm": facts.algorithm,
        "extra": dict(facts.extra),
        "sender": [sender.host, sender.key, sender.folder],
    }
    rest = json.dumps(kept, ensure_ascii=False).encode(errors="backslashreplace")
    content = b"%020d\n%b" % (0, rest)
    if len(content) > _MOST:
        raise FileRefused("bad-request", f"expected at most {_MOST} bytes about the file, found more")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    file = os.open(id + SUFFIX, flags, 0o600, dir_fd=folder)
    _hold(file)
    try:
        os.pwrite(file, content, 0)
        os.fsync(file)
    except OSError:
        os.close(file)
        with suppress(OSError):
            os.unlink(id + SUFFIX, dir_fd=folder)
        raise
    return State(file, facts, sender)


def open_state(folder: int, id: str, size: int | None, *, write: bool = True) -> State:  # noqa: A002
    """Open the state of an upload.

    Args:
        folder: the descriptor of the folder that it is in.
        id: of the upload.
        size: of the file, from the name of the part; None if unknown.
        write: whether the offset is to be recorded; the part is locked then.

    Raises:
        FileRefused: a crash has left it unfinished.
        OSError: it cannot be opened.
    """
    access = os.O_RDWR if write else os.O_RDONLY
    file = os.open(id + SUFFIX, access | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if write:
        _hold(file)
    try:
        content = os.pread(file, _MOST, 0)
        while content != (again := os.pread(file, _MOST, 0)):  # its owner has just written
            content = again
        facts, sender = _parse(content.rpartition(b"\n")[2], size)
        return State(file, facts, sender, int(content[:_OFFSET]))
    except (ValueError, TypeError, KeyError, AttributeError):
        os.close(file)
        raise FileRefused("unknown", "the upload of this id cannot be resumed") from None
    except BaseException:  # whatever it was, no descriptor stays
        os.close(file)
        raise


def _parse(content: bytes, size: int | None) -> tuple[Facts, Sender]:
    kept = json.loads(content)
    host, key, folder = kept.pop("sender")
    if not all(isinstance(value, str) for value in (host, key, folder, kept["digest"])):
        raise TypeError("expected text")
    safe_path(kept["name"])
    return Facts(size=size, **kept), Sender(host, key, folder)


def _hold(file: int) -> None:
    """Lock a state: a sweep may miss its part, which is just getting another name."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
