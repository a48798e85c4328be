"""Folders, opened relative to descriptors and never through a symbolic link."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from sockd_plugins.files.storage.owner import Owner

_OPEN = os.O_RDONLY | os.O_DIRECTORY
_INSIDE = _OPEN | os.O_NOFOLLOW

_NOBODY = Owner()


def open_folder(path: Path) -> int:
    """Open a folder; if it was missing, make it durably."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in missing:
        parent = os.open(folder.parent, _OPEN)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    return os.open(path, _OPEN)


def open_inside(folder: int, path: str, *, make: bool = True, owner: Owner = _NOBODY) -> int:
    """Open a folder within another, component by component.

    A missing one is made with the permissions of the one around it. Each name on the way is made durable,
    also where another process has just made it.

    Args:
        folder: the descriptor of the folder that the path starts from.
        path: as `safe_path` returned it; "" for the folder itself.
        make: whether missing folders are made.
        owner: of folders that are made.

    Raises:
        FileNotFoundError: it is missing, and not to be made.
        NotADirectoryError: another file has one of the names, such as a symbolic link.
        OSError: the disk fails.
    """
    inner = os.open(".", _OPEN, dir_fd=folder)
    try:
        for name in path.split("/") if path else ():
            outer, inner = inner, _enter(inner, name, make=make, owner=owner)
            os.close(outer)
    except BaseException:  # whatever it was, no descriptor stays
        os.close(inner)
        raise
    return inner


def _enter(folder: int, name: str, *, make: bool, owner: Owner) -> int:
    made = False
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, stat.S_IMODE(os.fstat(folder).st_mode) & 0o777, dir_fd=folder)
            made = True
    try:
        inner = os.open(name, _INSIDE, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            why = "expected a folder, found something else"
            raise NotADirectoryError(errno.ENOTDIR, why, name) from error
        raise
    if make:
        try:
            if made:
                owner.own(inner, folder)
            os.fsync(folder)
        except OSError:
            os.close(inner)
            raise
    return inner


def measure(folder: Path) -> tuple[int, int]:
    """Return the bytes and the number of the plain files in a folder and those within; (0, 0) without it.

    Raises:
        OSError: a folder cannot be read.
    """
    size = files = 0

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for within, _, names in os.walk(folder, onerror=fail):
        for name in names:
            with suppress(FileNotFoundError):  # it was removed just now
                status = os.lstat(os.path.join(within, name))
                if stat.S_ISREG(status.st_mode):
                    size, files = size + status.st_size, files + 1
    return size, files


def write_small(folder: int, name: str, content: bytes, mode: int, owner: Owner = _NOBODY) -> None:
    """Write a small file durably, in place of an earlier one.

    Args:
        folder: descriptor of its folder.
        name: of the file.
        content: of the file.
        mode: its permissions, before the umask.
        owner: of it.

    Raises:
        OSError: the disk fails; an earlier file stays then.
    """
    new = f".{secrets.token_hex(8)}"  # no received file has such a name
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=folder)
    try:
        with open(file, "wb", buffering=0) as stream:
            stream.write(content)
            owner.own(file, folder)
            os.fsync(file)
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:  # whatever it was, nothing is left
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise
    os.fsync(folder)


def replace_descriptor(descriptor: int, other: int) -> None:
    """Let a descriptor refer to the file of another one, which is closed."""
    try:
        os.dup2(other, descriptor, inheritable=False)
    finally:
        os.close(other)
