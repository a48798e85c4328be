"""Notes of uploads that are over: what became of them, for a client that has lost the answer and asks again.

A note is a file `.finished/ID` beside the parts. It is written once the file has its name, without waiting
for the disk: a note that a power cut takes away costs the client a second upload, which is found to be the
same. Notes are kept as long as unfinished uploads.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Stored

NOTES = ".finished"
"""Name of the folder of the notes, beside the parts."""

_MOST = 20_000  # bytes of a note: more than those of a state (`state.py`) with a path


@dataclass(frozen=True, slots=True)
class Finished:
    """Upload that is over.

    Attributes:
        facts: what was announced, with the size.
        stored: the file. Its id is that of the upload that was stored, another one if this was a part of it.
        sender: whose it was; without its grant.
        time: Unix time of the end.
    """

    facts: Facts
    stored: Stored
    sender: Sender
    time: float = 0.0


def note_finished(parts: int, id: str, finished: Finished) -> None:  # noqa: A002
    """Note what became of an upload.

    Args:
        parts: the descriptor of the folder of the parts.
        id: of the upload.
        finished: what became of it.

    Raises:
        OSError: the disk fails.
    """
    with suppress(FileExistsError):
        os.mkdir(NOTES, 0o700, dir_fd=parts)
    sender = finished.sender
    note = {
        "facts": asdict(finished.facts),
        "stored": asdict(finished.stored),
        "sender": [sender.host, sender.key, sender.folder],
    }
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(f"{NOTES}/{id}", flags, 0o600, dir_fd=parts)
    try:
        os.write(file, json.dumps(note).encode())
    finally:
        os.close(file)


def read_finished(parts: int, id: str) -> Finished | None:  # noqa: A002
    """Return what became of an upload; None if there is no note of it.

    Args:
        parts: the descriptor of the folder of the parts.
        id: of the upload.

    Raises:
        OSError: the disk fails.
    """
    try:
        file = os.open(f"{NOTES}/{id}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parts)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(os.read(file, _MOST))
        facts, stored = Facts(**found["facts"]), Stored(**found["stored"])
        return Finished(facts, stored, Sender(*found["sender"]), os.fstat(file).st_mtime)
    except (ValueError, TypeError, KeyError):  # a crash has cut it
        return None
    finally:
        os.close(file)


def sweep_finished(parts: int, keep_for: float) -> None:
    """Remove the notes that have expired.

    Args:
        parts: the descriptor of the folder of the parts.
        keep_for: seconds for which they are kept.
    """
    end = time.time() - keep_for
    with suppress(OSError):
        folder = os.open(NOTES, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parts)
        try:
            for id in os.listdir(folder):  # noqa: A001
                if os.lstat(id, dir_fd=folder).st_mtime < end:
                    os.unlink(id, dir_fd=folder)
        finally:
            os.close(folder)
