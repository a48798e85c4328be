"""Files that root has made for a daemon, given to the user that the daemon becomes (--uid and --gid)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """A user and a group, by their numbers."""

    user: int
    group: int


class Estate:
    """Files and sockets that are made while the process is still root, with the folders made for them.

    Args:
        paths: of all files and sockets, before any is made.
        folder: another one that the user needs; it is made if it is missing.
    """

    def __init__(self, paths: Iterable[Path], folder: Path) -> None:
        self._paths = list(dict.fromkeys(paths))
        self._folder = folder
        parents = dict.fromkeys(parent for path in self._paths for parent in path.parents)
        folders = dict.fromkeys((folder, *folder.parents, *parents))
        self._made = [each for each in folders if not os.path.lexists(each)]

    def hand_over(self, owner: Owner) -> None:
        """Let the user own them, and the folders that have been made meanwhile; others stay as they are.

        Only what is root's and has no second name changes hands.
        """
        if owner.user != os.geteuid():
            with suppress(OSError):  # who needs it tells why it is not there
                self._folder.mkdir(parents=True, exist_ok=True)
        for folder in self._made:
            _give(folder, owner, stat.S_ISDIR)
        for path in self._paths:
            _give(path, owner, _is_file_or_socket)


def _is_file_or_socket(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _give(path: Path, owner: Owner, fits: Callable[[int], bool]) -> None:
    # By a descriptor: the folder may be the user's, who could put another file in the place of this one.
    with suppress(FileNotFoundError, NotADirectoryError):
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            alone = stat.S_ISDIR(status.st_mode) or status.st_nlink == 1
            if fits(status.st_mode) and alone and status.st_uid == os.geteuid():
                os.chown(f"/proc/self/fd/{descriptor}", owner.user, owner.group)
        finally:
            os.close(descriptor)
