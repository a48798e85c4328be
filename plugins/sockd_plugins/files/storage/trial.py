"""Trial of a folder, before the service starts: whether files can be stored there as they are to be."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from sockd_plugins.files.storage.folders import open_inside
from sockd_plugins.files.storage.kernel import give_name
from sockd_plugins.files.storage.limits import Limits
from sockd_plugins.files.storage.parts import Parts
from sockd_plugins.files.storage.sender import Sender

_FULL = {errno.ENOSPC, errno.EDQUOT}


def try_folder(path: Path, folder: int, parts: Parts, limits: Limits) -> None:
    """Check that files can be stored in a folder, and make what has to be there from the beginning.

    A full disk is no fault, because it may get free again.

    Args:
        path: of the folder.
        folder: its descriptor.
        parts: the unfinished uploads in it.
        limits: bounds of its files.

    Raises:
        OSError: they cannot be stored; the text tells why.
    """
    try:
        part = parts.create(0o600, None, Sender().source)
    except OSError as error:
        if error.errno in _FULL:
            return
        raise _unfit(path, error) from error
    name = f"{part.id}-named"
    try:
        fault = _fault(part.file, parts.folder, limits)
        give_name(parts.folder, part.name, parts.folder, name)
    except OSError as error:
        if error.errno in _FULL:
            return
        raise _unfit(path, error) from error
    finally:
        parts.remove(part)
        with suppress(OSError):
            os.unlink(name, dir_fd=parts.folder)
        part.close()
    if fault is not None:
        raise PermissionError(errno.EPERM, fault, str(path))
    if limits.unverified:
        _make_unverified(path, folder, limits)


def _fault(file: int, folder: int, limits: Limits) -> str | None:
    """Return why files cannot have the owner or the permissions that they are to have; None if they can.

    File systems such as FAT keep neither.
    """
    try:
        limits.owner.own(file, folder)
    except PermissionError:
        return "files cannot be given to their owner there; leave out 'owner'"
    mode = limits.mode
    if mode is not None:
        with suppress(PermissionError):
            os.fchmod(file, mode)
        if stat.S_IMODE(os.fstat(file).st_mode) != mode:
            return f"its file system does not keep the permissions {mode:03o}; leave out 'mode'"
    return None


def _unfit(path: Path, error: OSError) -> OSError:
    number = error.errno or errno.EIO
    if number != errno.EOPNOTSUPP:
        why = f"files cannot be stored there: {os.strerror(number).lower()}"
        return OSError(number, why, str(path))
    why = (
        "its file system has neither hard links nor a rename that replaces nothing"
        " (renameat2 with RENAME_NOREPLACE), so files cannot be stored there safely"
    )
    return OSError(number, why, str(path))


def _make_unverified(path: Path, folder: int, limits: Limits) -> None:
    """Make the folder for unverified files if it is missing; an error has the whole path."""
    try:
        os.close(open_inside(folder, limits.unverified, owner=limits.owner))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path / limits.unverified)) from error
