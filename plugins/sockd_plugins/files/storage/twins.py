"""Files that are there already: a sender that has lost the answer sends the same file again."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from sockd_plugins.files.storage.folders import open_inside
from sockd_plugins.files.storage.names import candidates

_MOST_COMPARED = 10
"""Files of one name and one size that are read at most; a further copy is stored instead."""

_FIRST = 1 << 16  # bytes to compare first: files that differ mostly do so at the beginning
_PIECE = 1 << 20  # bytes to compare at once then


def find_twin(folder: int, name: str, file: int, size: int) -> str | None:
    """Find a stored file with the same bytes, under a name or under the numbered ones that follow.

    Args:
        folder: the descriptor of the folder.
        name: to begin with.
        file: the descriptor of the file that was received.
        size: its bytes.

    Returns:
        The name of the other one, whose data is durable now; None if there is none.
    """
    compared = 0
    for candidate in candidates(name):
        try:
            twin = os.open(candidate, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError:  # a symbolic link, or a file that is not ours to read
            continue
        try:
            status = os.fstat(twin)
            if stat.S_ISREG(status.st_mode) and status.st_size == size:
                if compared == _MOST_COMPARED:
                    return None
                compared += 1
                with suppress(OSError):
                    if _are_same(twin, file, size):
                        os.fsync(twin)
                        return candidate
        finally:
            os.close(twin)
    return None


def sizes_of(directory: int, path: str) -> set[int]:
    """Return the sizes of the files of a name, and of the numbered ones that follow.

    Args:
        directory: the descriptor of the directory.
        path: of the file in it, as `safe_path` returned it.

    Raises:
        OSError: there is no such folder, or the disk fails.
    """
    within, _, name = path.rpartition("/")
    folder = open_inside(directory, within, make=False)
    sizes: set[int] = set()
    try:
        for candidate in candidates(name):
            status = os.lstat(candidate, dir_fd=folder)
            if stat.S_ISREG(status.st_mode):
                sizes.add(status.st_size)
    except FileNotFoundError:
        pass
    finally:
        os.close(folder)
    return sizes


def _are_same(one: int, other: int, size: int) -> bool:
    position, length = 0, _FIRST
    while position < size:
        piece = os.pread(one, length, position)
        if not piece or piece != os.pread(other, len(piece), position):
            return False
        position, length = position + len(piece), _PIECE
    return True
