"""Unfinished uploads: a look at them, which takes none, and the removal or the data of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sockd_plugins.files.storage.bounds import owner_of
from sockd_plugins.files.storage.parts import Entry, Parts
from sockd_plugins.files.storage.refused import FileRefused, disk_errors
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import SUFFIX, Facts, open_state


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Unfinished upload.

    Attributes:
        id: of the upload.
        facts: what was announced.
        sender: who has announced it; without its grant.
        received: bytes that have come, as far as it is known here.
        durable: bytes that survive a power cut.
        busy: whether a connection has it.
        expires: Unix time after which it is removed if no byte comes.
        kept: whether it can be resumed.
    """

    id: str
    facts: Facts
    sender: Sender
    received: int
    durable: int
    busy: bool
    expires: float
    kept: bool = True


def look_at(parts: Parts, id: str) -> Unfinished:  # noqa: A002
    """Look at an upload that can be resumed, whose sender may be told of it.

    Raises:
        FileRefused: there is none, or the disk fails.
    """
    with disk_errors():
        return _look(parts, parts.find(id), sync=True)


def list_unfinished(parts: Parts) -> list[Unfinished]:
    """List the uploads that can be resumed.

    Raises:
        FileRefused: the disk fails.
    """
    found = []
    with disk_errors():
        for entry in parts.entries():
            with suppress(FileRefused):  # it cannot be resumed, or has just ended
                found.append(_look(parts, entry))
    return found


def search_unfinished(parts: Parts, name: str, sender: Sender, size: int | None = None) -> str | None:
    """Find the newest upload that can be resumed, by its name and sender.

    Args:
        parts: all of them.
        name: as it was announced.
        sender: of the same source and folder.
        size: bytes that were announced, of one that no connection has; None for any.

    Returns:
        Its id.

    Raises:
        FileRefused: the disk fails.
    """
    newest: Unfinished | None = None
    with disk_errors():
        for entry in parts.entries():
            if entry.source != sender.source:
                continue
            with suppress(FileRefused):
                found = _look(parts, entry)
                same = (found.facts.name, found.sender.folder) == (name, sender.folder)
                if size is not None:
                    same = same and found.facts.size == size and not found.busy
                if same and (newest is None or found.expires >= newest.expires):
                    newest = found
    return None if newest is None else newest.id


def _look(parts: Parts, entry: Entry, *, sync: bool = False) -> Unfinished:
    try:
        state = open_state(parts.folder, entry.id, entry.announced, write=False)
        try:
            if sync:
                state.sync()
        finally:
            state.close()
        touched = os.stat(entry.id + SUFFIX, dir_fd=parts.folder, follow_symlinks=False).st_mtime
        busy = parts.is_locked(entry.name)
    except FileNotFoundError:
        raise FileRefused("unknown", "there is no unfinished upload of this id; it has ended") from None
    durable, expires = state.durable, touched + parts.keep_for
    return Unfinished(entry.id, state.facts, state.sender, durable, durable, busy, expires)


def remove_upload(parts: Parts, id: str, sender: Sender | None = None) -> None:  # noqa: A002
    """Remove an unfinished upload that no process has.

    Args:
        parts: all of them.
        id: of the upload.
        sender: who wants it; None for the operator.

    Raises:
        FileRefused: there is none of this id, it is in use, it is another's, or the disk fails.
    """
    with disk_errors():
        part, state = parts.resume(id)
        try:
            if sender is not None:
                owner_of(state.sender, sender)
            parts.remove(part)
        finally:
            part.close()


@contextmanager
def whole_part(parts: Parts, id: str, sender: Sender) -> Iterator[tuple[int, int]]:  # noqa: A002
    """Open the part of an upload that is whole and not published.

    Args:
        parts: all of them.
        id: of the upload.
        sender: who wants it.

    Yields:
        Its descriptor, and its bytes.

    Raises:
        FileRefused: there is none of this id, it is in use, another's, or not whole.
        OSError: the disk fails.
    """
    part, state = parts.resume(id)
    try:
        owner_of(state.sender, sender)
        if state.facts.size != state.durable:
            raise FileRefused("incomplete", f"the upload {id} is not whole")
        yield part.file, state.durable
    finally:
        part.close()
