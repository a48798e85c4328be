"""Names that files have got and that are not durable yet."""

from __future__ import annotations

import os
from contextlib import suppress


class GivenNames:
    """Names in folders. One synchronization of a folder makes all of them durable."""

    def __init__(self) -> None:
        self._folders: dict[str, tuple[int, list[str]]] = {}

    def add(self, within: str, folder: int, name: str) -> None:
        """Add a name.

        Args:
            within: path of the folder.
            folder: its descriptor, which stays the caller's.
            name: in it.
        """
        if within not in self._folders:
            self._folders[within] = os.dup(folder), []
        self._folders[within][1].append(name)

    def sync(self) -> set[str]:
        """Make the names durable; return the paths for which that failed, and whose names are removed."""
        lost = set()
        for within, (folder, names) in self._folders.items():
            try:
                os.fsync(folder)
            except OSError:
                for name in names:
                    with suppress(OSError):
                        os.unlink(name, dir_fd=folder)
                    lost.add(f"{within}/{name}" if within else name)
        return lost

    def close(self) -> None:
        """Close the folders."""
        for folder, _ in self._folders.values():
            os.close(folder)
        self._folders.clear()
