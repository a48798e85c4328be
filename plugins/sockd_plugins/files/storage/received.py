"""Received files, for those who may fetch them back. No symbolic link is followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sockd_plugins.files.storage.names import safe_name
from sockd_plugins.files.storage.refused import FileRefused, disk_errors
from sockd_plugins.files.storage.store import Store

MOST_LISTED = 10_000
"""Files and folders of one listing."""

_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG}


@dataclass(frozen=True, slots=True)
class Listed:
    """Entry of a folder.

    Attributes:
        name: within the folder.
        size: in bytes; None of a folder.
        modified: Unix time.
    """

    name: str
    size: int | None
    modified: float


def open_received(store: Store, path: str) -> tuple[int, os.stat_result]:
    """Open a received file.

    Args:
        store: where it is.
        path: relative to the directory, as `safe_path` returned it.

    Returns:
        Its descriptor, which is the caller's, and its status.

    Raises:
        FileRefused: there is no such file, or the disk fails.
    """
    folder, _, name = path.rpartition("/")
    with _known(), _opened(store, folder) as outer:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=outer)
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        os.close(file)
        raise FileRefused("unknown", "there is no such file")
    return file, status


def is_taken(store: Store, path: str) -> bool:
    """Tell whether a file or anything else has a name.

    Args:
        store: where it is.
        path: relative to the directory, as `safe_path` returned it.

    Raises:
        FileRefused: the disk fails.
    """
    folder, _, name = path.rpartition("/")
    try:
        with _known(), _opened(store, folder) as outer:
            os.lstat(name, dir_fd=outer)
    except FileRefused as refused:
        if refused.code != "unknown":
            raise
        return False
    return True


def list_received(store: Store, path: str) -> list[Listed]:
    """List the files and folders in a folder, by their names.

    Args:
        store: where it is.
        path: relative to the directory, as `safe_path` returned it; "" for the directory.

    Raises:
        FileRefused: there is no such folder, there are too many files, or the disk fails.
    """
    found = []
    with _known(), _opened(store, path) as folder:
        for name in os.listdir(folder):
            with suppress(ValueError, FileNotFoundError):
                if safe_name(name) == name:
                    found.append((name, os.lstat(name, dir_fd=folder)))
            if len(found) > MOST_LISTED:
                raise FileRefused("too-many", f"there are more than {MOST_LISTED} files")
    return [
        Listed(name, None if stat.S_ISDIR(status.st_mode) else status.st_size, status.st_mtime)
        for name, status in sorted(found)
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    ]


@contextmanager
def _opened(store: Store, path: str) -> Iterator[int]:
    folder = store.open_folder(path)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _known() -> Iterator[None]:
    """Turn the error for what is missing into a refusal, and others into one of the disk."""
    with disk_errors():
        try:
            yield
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            raise FileRefused("unknown", "there is no such file") from None
