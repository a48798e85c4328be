"""Files to send, from the arguments of the command: files, folders with all that is in them, and pipes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sockd.cli.send.source import Source
from sockd.text import describe_os_error

SMALL = 1 << 18
"""Bytes of a file that is read, hashed and sent in one piece, without a wait for the files before it. A
larger one can be resumed."""

BAD_NAME = "its name is not one line of UTF-8: give another one with --name"
"""Reason why a file cannot be announced."""

_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFLNK: "a symbolic link",
}


@dataclass(slots=True, eq=False)
class Item:
    """File to send.

    Attributes:
        path: as the person named it, or below a folder that was named; "-" for standard input.
        name: on the server; with slashes, if it comes from a folder.
        size: in bytes; None if it is not known before the end.
        id: of its unfinished upload on the server; "" for none.
        durable: bytes of that upload that the server has on its disk.
        source: its data, once it was opened; a pipe cannot be opened again.
        anew: whether to begin anew although the server has an unfinished upload of this name.
        restarts: times that it was begun anew since the last progress.
    """

    path: str
    name: str
    size: int | None
    id: str = ""
    durable: int = 0
    source: Source | None = None
    anew: bool = False
    restarts: int = 0

    @property
    def small(self) -> bool:
        """True if it is sent in one piece, which takes no more memory than any other way.

        What is open already may be a pipe, which cannot be opened a second time.
        """
        return self.size is not None and self.size <= SMALL and self.path != "-" and self.source is None


def is_utf8(text: str) -> bool:
    """Tell whether a text, such as the name of a file, can be written in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Skipped = Callable[[str, str], object]
"""Told each path that is not sent, and why."""

Unreadable = Callable[[Item, str], object]
"""Told each item that cannot be sent, and why."""


def expand(
    files: tuple[str, ...], name: str | None, follow: bool, skipped: Skipped, unreadable: Unreadable
) -> list[Item]:
    """Return what the arguments name.

    Args:
        files: the arguments.
        name: on the server, for the only one.
        follow: whether symbolic links in folders are followed. Those that are named always are.
        skipped: told each path that is no file.
        unreadable: told each item that cannot be read.
    """
    items: list[Item] = []
    for file in files:
        path = Path(file)
        called = name or (path.name if path.name not in ("", "..") else path.resolve().name)
        try:
            if file == "-":
                items.append(Item("-", called, _size(os.fstat(0), os.lseek)))
                continue
            status = path.stat()
            if not stat.S_ISDIR(status.st_mode):
                items.append(Item(file, called, _size(status)))
                continue
            items.extend(_within(file, called, follow, skipped, unreadable))
        except OSError as error:
            unreadable(Item(file, called, None), describe_os_error(error))
    return items


def _size(status: os.stat_result, seek: Callable[[int, int, int], int] | None = None) -> int | None:
    """Return the size of a regular file, for standard input from where it stands."""
    if not stat.S_ISREG(status.st_mode):
        return None
    return max(status.st_size - (seek(0, 0, os.SEEK_CUR) if seek else 0), 0)


def _within(folder: str, name: str, follow: bool, skipped: Skipped, unreadable: Unreadable) -> Iterator[Item]:
    """Yield the files of a folder and of the folders in it, in the order of their names."""
    waiting = [(folder, name)]
    seen: set[tuple[int, int]] = set()  # folders; a link may lead back
    while waiting:
        folder, name = waiting.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                skipped(folder, "a folder that is sent already")
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            unreadable(Item(folder, name, None), describe_os_error(error))
            continue
        folders = []
        for entry in inside:
            called = f"{name}/{entry.name}"
            try:
                status = entry.stat(follow_symlinks=follow)
            except OSError as error:
                unreadable(Item(entry.path, called, None), describe_os_error(error))
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append((entry.path, called))
            elif stat.S_ISREG(status.st_mode):
                yield Item(entry.path, called, status.st_size)
            else:
                skipped(entry.path, _KINDS.get(stat.S_IFMT(status.st_mode), "no file"))
        waiting += reversed(folders)
