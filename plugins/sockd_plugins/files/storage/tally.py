"""Count of the stored files, folder by folder, shared by all workers in a file beside the parts.

A folder is counted anew when it has changed otherwise than by a file that the ledger has noted: its time of
change (mtime) tells. A look at all folders costs a system call for each. Where there are many, one a second
is enough: it is for changes of others, and those in the directory itself are seen at once.
"""

from __future__ import annotations

import json
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field

from sockd_plugins.files.storage.folders import open_inside
from sockd_plugins.files.storage.parts import PARTS, TALLY, listed

_MOST = 64 << 20  # bytes of the file; a folder takes about 100

_FEW = 100
"""Folders up to which all are looked at each time."""

_LOOK_SECONDS = 1.0
"""Time between two looks at more folders, at least."""


@dataclass(slots=True)
class _Counted:
    """Folder as it was counted.

    Attributes:
        path: relative to the directory.
        mark: changes whenever a file gets or loses its name in it.
        size: bytes of the plain files in it.
        files: their number.
        inner: names of the folders in it.
        line: all of this, as the file has it; b"" if it has changed.
    """

    path: str
    mark: list[int]
    size: int = 0
    files: int = 0
    inner: list[str] = field(default_factory=list)
    line: bytes = b""

    @classmethod
    def read(cls, line: bytes) -> _Counted:
        """Read a line; raise ValueError or TypeError if a crash has left half of it."""
        path, mark, size, files, inner = json.loads(line)
        return cls(str(path), list(map(int, mark)), int(size), int(files), list(map(str, inner)), line)

    def written(self) -> bytes:
        """Return the line."""
        if not self.line:
            values = (self.path, self.mark, self.size, self.files, self.inner)
            self.line = json.dumps(values, separators=(",", ":")).encode()
        return self.line

    def paths(self) -> list[str]:
        """Return the paths of the folders in it."""
        return [f"{self.path}/{name}" if self.path else name for name in self.inner]


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
        self._look_at = 0.0  # time of the next look at all folders, if there are many

    def total(self, path: str = "") -> tuple[int, int]:
        """Return the bytes and the number of the files that were there when they were counted last.

        Args:
            path: of a folder, whose inner folders count, too; "" for the directory.
        """
        inside = f"{path}/" if path else ""
        found = [each for each in self._folders.values() if f"{each.path}/".startswith(inside)]
        return sum(folder.size for folder in found), sum(folder.files for folder in found)

    def count(self) -> None:
        """Count what has changed since the last count."""
        self._read()
        now = time.monotonic()
        many = len(self._folders) > _FEW
        changed = many and self._visit("", self._folders)
        if not many or changed or now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look(changed=changed)

    def add(self, path: str, size: int) -> None:
        """Note a file that has just got its name.

        Args:
            path: of the folder that it is in.
            size: in bytes.
        """
        if folder := self._folders.get(path):
            with suppress(OSError):
                folder.mark = self._mark(path)
            folder.size += size
            folder.files += 1
            folder.line = b""
        else:  # it was made for the file
            names = path.split("/")
            with suppress(OSError):
                for length in range(len(names) + 1):
                    self._visit("/".join(names[:length]), self._folders)
        self._write()

    def _look(self, *, changed: bool) -> None:
        """Look at all folders, and count those that have changed; `changed` tells whether one had already."""
        found: dict[str, _Counted] = {}
        paths = [""]
        while paths:
            path = paths.pop()
            try:
                changed |= self._visit(path, found)
            except OSError:  # it was removed meanwhile, or is not for us
                if not path:
                    raise
                continue
            paths.extend(found[path].paths())
        if changed or len(found) != len(self._folders):
            self._folders = found
            self._write()

    def _visit(self, path: str, found: dict[str, _Counted]) -> bool:
        """Take what is known of a folder, or count it if it has changed; return whether it has."""
        mark = self._mark(path)
        known = self._folders.get(path)
        if known is not None and known.mark == mark:
            found[path] = known
            return False
        found[path] = _count(self._folder, path, mark)
        return True

    def _mark(self, path: str) -> list[int]:
        status = os.stat(path or ".", dir_fd=self._folder, follow_symlinks=False)
        return [status.st_ino, status.st_mtime_ns]

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
        known = {folder.line: folder for folder in self._folders.values() if folder.line}
        folders: dict[str, _Counted] = {}
        with suppress(ValueError, TypeError):
            for line in content.split(b"\n"):
                folder = known.get(line) or _Counted.read(line)
                folders[folder.path] = folder
        self._folders, self._content = folders, content
        if not all(path in folders for folder in folders.values() for path in folder.paths()):
            self._look_at = 0.0  # a crash has left half of it

    def _write(self) -> None:
        """Keep the figures for the next check; without them it counts."""
        self._content = b"\n".join([folder.written() for folder in self._folders.values()])
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
    counted = _Counted(path, mark)
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
