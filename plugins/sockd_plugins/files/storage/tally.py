"""Count of the stored files, folder by folder, shared by all workers in a file beside the parts.

A folder is counted anew when it has changed otherwise than by a file that the ledger has noted: its time of
change (mtime) tells. A check costs a system call for each folder, and a listing for each that has changed.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field

from sockd_plugins.files.storage.folders import open_inside
from sockd_plugins.files.storage.parts import PARTS, TALLY, listed

_MOST = 64 << 20  # bytes of the file; a folder takes about 100


@dataclass(slots=True)
class _Counted:
    """Folder as it was counted: its mark, the plain files in it, and the folders in it."""

    mark: list[int]
    size: int = 0
    files: int = 0
    inner: list[str] = field(default_factory=list)


class Tally:
    """Count of what is stored in a directory; its calls need the lock of the ledger.

    Args:
        folder: the descriptor of the directory.
        parts: the descriptor of the folder of the parts, which does not count.
    """

    def __init__(self, folder: int, parts: int) -> None:
        self._folder = folder
        self._parts = parts
        self._folders: dict[str, _Counted] = {}
        self._content = b""  # of the file, as it was read or written last

    def count(self) -> tuple[int, int]:
        """Return the bytes and the number of the stored files."""
        self._read()
        found: dict[str, _Counted] = {}
        changed = False
        paths = [""]
        while paths:
            path = paths.pop()
            try:
                changed |= self._visit(path, found)
            except OSError:  # it was removed meanwhile, or is not for us
                if not path:
                    raise
                continue
            paths.extend(f"{path}/{name}" if path else name for name in found[path].inner)
        if changed or len(found) != len(self._folders):
            self._folders = found
            self._write()
        counts = found.values()
        return sum(folder.size for folder in counts), sum(folder.files for folder in counts)

    def add(self, path: str, size: int) -> None:
        """Note a file that has just got its name.

        Args:
            path: of the folder that it is in.
            size: in bytes.
        """
        folder = self._folders.get(path)
        if folder is None:  # it is new, and is counted next time
            return
        folder.size += size
        folder.files += 1
        with suppress(OSError):
            folder.mark = _mark(os.stat(path or ".", dir_fd=self._folder, follow_symlinks=False))
            self._write()

    def _visit(self, path: str, found: dict[str, _Counted]) -> bool:
        """Take what is known of a folder, or count it if it has changed; return whether it has."""
        mark = _mark(os.stat(path or ".", dir_fd=self._folder, follow_symlinks=False))
        known = self._folders.get(path)
        if known is not None and known.mark == mark:
            found[path] = known
            return False
        found[path] = _count(self._folder, path, mark)
        return True

    def _read(self) -> None:
        """Read what another worker, or this process before a restart, has noted."""
        content = b""
        with suppress(OSError):
            file = os.open(TALLY, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._parts)
            try:
                content = os.pread(file, _MOST, 0)
            finally:
                os.close(file)
        if content == self._content:
            return
        self._folders, self._content = {}, content
        with suppress(ValueError, TypeError, AttributeError):  # a crash has left half of it
            self._folders = {
                path: _Counted(list(map(int, mark)), int(size), int(files), list(map(str, inner)))
                for path, (mark, size, files, inner) in json.loads(content).items()
            }

    def _write(self) -> None:
        """Keep the figures for the next check; without them it counts."""
        folders = self._folders.items()
        figures = {path: (each.mark, each.size, each.files, each.inner) for path, each in folders}
        self._content = json.dumps(figures, separators=(",", ":")).encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        with suppress(OSError):
            file = os.open(TALLY, flags, 0o600, dir_fd=self._parts)
            try:
                os.ftruncate(file, 0)
                os.write(file, self._content)
            finally:
                os.close(file)


def _count(folder: int, path: str, mark: list[int]) -> _Counted:
    """Count the plain files in a folder, and list the folders in it."""
    counted = _Counted(mark)
    try:
        inside = open_inside(folder, path, make=False)
    except PermissionError:  # the operator keeps it from the service
        return counted
    try:
        for name in listed(inside):
            with suppress(OSError):
                status = os.lstat(name, dir_fd=inside)
                if stat.S_ISREG(status.st_mode):
                    counted.size += status.st_size
                    counted.files += 1
                elif stat.S_ISDIR(status.st_mode) and (path or name != PARTS):
                    counted.inner.append(name)
    finally:
        os.close(inside)
    return counted


def _mark(status: os.stat_result) -> list[int]:
    """Return what changes whenever a file gets or loses its name in a folder."""
    return [status.st_ino, status.st_mtime_ns]
