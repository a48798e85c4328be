"""Room on the disk: all but a reserve of bytes and of files (inodes) may be taken.

Room is taken as data arrives, a step ahead of it, and never for a size that is only announced. The check and
the allocation hold the lock of that disk, so that uploads at the same moment cannot take the same room. Other
processes do not share the lock. They see allocated room in the figures of the disk, because it is allocated
at once, and the figures are checked again afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock

from sockd_plugins.files.storage.kernel import allocate
from sockd_plugins.files.storage.refused import FileRefused


@dataclass(slots=True)
class _Device:
    """State of one disk that the services of this process share; `booked` bytes are being written to it."""

    lock: RLock = field(default_factory=RLock)
    booked: int = 0


_devices: dict[int, _Device] = {}  # by st_dev


class Room:
    """Room of one service on the disk of its folder.

    Args:
        folder: the folder's descriptor.
        reserve: bytes that must stay free.
        reserve_files: files that other programs must still be able to make.
    """

    def __init__(self, folder: int, reserve: int, reserve_files: int) -> None:
        self._folder = folder
        self._reserve = reserve
        self._reserve_files = reserve_files
        self._device = _devices.setdefault(os.fstat(folder).st_dev, _Device())
        self._allocates = True  # until the file system refuses to
        self.lock = self._device.lock

    def check(self, size: int, files: int = 0) -> None:
        """Refuse an upload that would leave less than the reserve.

        Args:
            size: bytes that are to be written.
            files: files that are to be made.

        Raises:
            FileRefused: there is less room than that.
        """
        disk = os.fstatvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < size + self._device.booked + self._reserve:
            raise FileRefused("disk-full", f"there is no room for {size} more bytes")
        if files and disk.f_files and disk.f_favail < files + self._reserve_files:
            raise FileRefused("disk-full", "there is no room for more files (inodes)")

    def take(self, file: int, start: int, needed: int, wished: int) -> int:
        """Take room for a file's next bytes.

        Args:
            file: the file's descriptor.
            start: the first byte without room.
            needed: bytes that are about to be written.
            wished: bytes to take if there is plenty of room; not less.

        Returns:
            How many were taken: `wished`, `needed`, or 0 where the file system cannot allocate.

        Raises:
            FileRefused: there is no room for those needed.
            OSError: the disk has no room for them, or fails.
        """
        if not self._allocates:
            return 0
        with self.lock:
            try:
                return self._take(file, start, wished)
            except (FileRefused, OSError):
                if wished == needed:
                    raise
            return self._take(file, start, needed)

    def _take(self, file: int, start: int, length: int) -> int:
        self.check(length)
        self._allocates = allocate(file, start, length)
        if not self._allocates:
            return 0
        self.check(0)  # another process may have taken room in the same moment
        return length

    @contextmanager
    def booked(self, size: int) -> Iterator[None]:
        """Reserve room for bytes that are being written without having been allocated.

        Raises:
            FileRefused: there is no room for them.
        """
        with self.lock:
            self.check(size)
            self._device.booked += size
        try:
            yield
        finally:
            with self.lock:
                self._device.booked -= size
