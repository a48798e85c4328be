"""Names that files have got and that are not durable yet."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from contextlib import ExitStack, suppress


class GivenNames:
    """Names in folders. One synchronization of a folder makes all of them durable."""

    def __init__(self) -> None:
        self._folders: dict[str, tuple[int, dict[str, ExitStack]]] = {}

    def add(self, within: str, folder: int, name: str) -> None:
        """Add a name.

        Args:
            within: path of the folder.
            folder: its descriptor, which stays the caller's.
            name: in it.
        """
        if within not in self._folders:
            self._folders[within] = os.dup(folder), {}
        self._folders[within][1][name] = ExitStack()

    def hold(self, path: str, noted: ExitStack) -> None:
        """Keep the contexts open that note a file, until its name is durable; they are undone if it is lost.

        Args:
            path: of the file, whose name was added.
            noted: the contexts.
        """
        within, _, name = path.rpartition("/")
        self._folders[within][1][name] = noted

    def sync(self) -> set[str]:
        """Make the names durable; return the paths for which that failed, and whose names are removed."""
        lost: set[str] = set()
        while self._folders:
            within, (folder, names) = self._folders.popitem()
            try:
                os.fsync(folder)
            except OSError as error:
                _remove(folder, names, error)
                lost.update(f"{within}/{name}" if within else name for name in names)
            else:
                _close(names.values())
            finally:
                os.close(folder)
        return lost

    def close(self) -> None:
        """Remove the names that were not made durable, after a fault."""
        while self._folders:
            _, (folder, names) = self._folders.popitem()
            _remove(folder, names, OSError(errno.ECANCELED, "not synchronized"))
            os.close(folder)


def _remove(folder: int, names: dict[str, ExitStack], why: OSError) -> None:
    for name, noted in names.items():
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        with suppress(OSError):  # a note that the disk keeps is dropped later, or counts too much
            noted.__exit__(type(why), why, why.__traceback__)


def _close(all_noted: Collection[ExitStack]) -> None:
    for noted in all_noted:
        noted.close()
