"""Disks of the trials: an ext4 in a file, whose power can be cut, and small ones that get full."""

from __future__ import annotations

import ctypes
import os
import subprocess
from fcntl import ioctl
from itertools import count
from pathlib import Path

from typing_extensions import override

from benchmarks.processes import MeasureError

SIZE = 192 << 20
"""Bytes of the ext4: several files of a trial."""

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, the same number as XFS_IOC_GOINGDOWN: nothing that is not on the disk yet gets there."""

COLD, FLUSHED = 2, 1
"""Flags of a cut: the journal stays as it is on the disk, or gets there at the last moment, so that names are
durable and data is not."""

_NEW_NAMESPACE = 0x20000  # CLONE_NEWNS of unshare(2)


def own_mounts() -> str:
    """Have mounts of our own, so that none outlives the process; return why that fails, or nothing."""
    if os.geteuid():
        return "mounting needs root"
    if ctypes.CDLL(None).unshare(_NEW_NAMESPACE) or _fails("mount", "--make-rprivate", "/"):
        return "this process may not have mounts of its own"
    return ""


class Disk:
    """File system at a folder; a plain folder of the machine, unless it is mounted.

    Attributes:
        folder: its root.
        received: the folder of the files in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.received = folder / "received"
        folder.mkdir(exist_ok=True)

    def clear(self) -> None:
        """Remove all files, whoever has made them."""
        _run("find", self.folder, "-mindepth", "1", "-delete")

    def sync(self) -> None:
        """Make durable what was removed."""
        folder = os.open(self.received, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Give the disk back."""


class Ext4(Disk):
    """Ext4 in a file, on a loop device.

    Args:
        folder: where it is mounted.
        image: the file.

    Raises:
        MeasureError: it cannot be made here.
    """

    def __init__(self, folder: Path, image: Path) -> None:
        super().__init__(folder)
        self._image = image
        with image.open("wb") as file:
            file.truncate(SIZE)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        self._mount()

    def cut(self, flags: int) -> None:
        """Cut the power; a second cut changes nothing."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            ioctl(folder, SHUTDOWN, flags.to_bytes(4, "little"))
        finally:
            os.close(folder)

    def restart(self) -> None:
        """Mount again what is on the disk; no process may use it."""
        self.close()
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", self._image, self.folder)

    @override
    def close(self) -> None:
        _run("umount", self.folder)


class Small(Disk):
    """Disk in memory that gets full, and has room later.

    Args:
        folder: where it is mounted.
        size: bytes.
        files: files (inodes).
    """

    def __init__(self, folder: Path, size: int, files: int) -> None:
        super().__init__(folder)
        self._size = size
        _run("mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={files}", "tmpfs", folder)

    def fill(self, name: str) -> None:
        """Make files until there can be no more."""
        try:
            for number in count():
                (self.folder / f"{name}{number}").touch()
        except OSError:
            return

    def relieve(self, name: str) -> None:
        """Remove the files that have filled it, and give it four times the room."""
        for path in self.folder.glob(f"{name}*"):
            path.unlink()
        self._resize(4 * self._size)

    def shrink(self) -> None:
        """Give it its size again."""
        self._resize(self._size)

    def _resize(self, size: int) -> None:
        _run("mount", "-o", f"remount,size={size}", self.folder)

    @override
    def close(self) -> None:
        _run("umount", self.folder)


def _fails(*words: str | Path) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode != 0  # noqa: S603  # our own


def _run(*words: str | Path) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  # our own
    except OSError as error:
        raise MeasureError(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        raise MeasureError(f"{words[0]} ended with {done.returncode}: {done.stderr.strip()}")
