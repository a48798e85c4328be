"""Published files and folders of one sender, reached by descriptors and never through a symbolic link.

Nothing here changes the content of a file or replaces one. All calls wait for the disk.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sockd_plugins.files.storage.bounds import check_allowed
from sockd_plugins.files.storage.kernel import rename_new
from sockd_plugins.files.storage.names import MAX_COPIES, candidates, safe_name
from sockd_plugins.files.storage.parts import listed
from sockd_plugins.files.storage.refused import FileRefused, disk_errors
from sockd_plugins.files.storage.store import Store

Identity = tuple[int, int]
"""Device and inode of a file."""

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Found:
    """File or folder that is there.

    Attributes:
        identity: which it is, whatever its name.
        is_folder: whether it is a folder.
        size: in bytes.
        mode: type and permissions.
        accessed: Unix time of the last access.
        modified: Unix time of the last change, which a sender may have set.
        changed: Unix time of the last change of any kind, which nobody can set.
    """

    identity: Identity
    is_folder: bool
    size: int
    mode: int
    accessed: float
    modified: float
    changed: float


class Shelf:
    """Published files of one sender.

    Args:
        store: with the files of all.
        folder: of the sender, as `safe_path` returned it; "" for the whole directory.
    """

    def __init__(self, store: Store, folder: str = "") -> None:
        self._store = store
        self._folder = folder

    def look(self, path: str) -> Found | None:
        """Look at a file or folder; None if there is none, or something else of this name."""
        with (
            disk_errors(),
            suppress(FileNotFoundError, NotADirectoryError),
            self._around(path) as (folder, name),
        ):
            return _found(os.stat(name or ".", dir_fd=folder, follow_symlinks=False))
        return None

    def list(self, path: str) -> dict[str, Found] | None:
        """List the files and folders in a folder; None if there is no such folder."""
        missing = suppress(FileNotFoundError, NotADirectoryError)
        with disk_errors(), missing, self._inside(path) as folder:
            found = {}
            for name in listed(folder):
                with suppress(FileNotFoundError, ValueError):  # it was removed, or is none of ours
                    status = _found(os.stat(safe_name(name), dir_fd=folder, follow_symlinks=False))
                    if status is not None:
                        found[name] = status
            return found
        return None

    def make_folder(self, path: str) -> None:
        """Make a folder, durably.

        Raises:
            FileRefused: the name is taken, or folders are not permitted.
        """
        if not self._store.limits.folders:
            raise FileRefused("denied", "this service takes no folders; its option 'folders' permits them")
        if self.look(path) is not None:
            raise FileRefused("exists", f"there is a file or folder {path} already")
        self._store.check_path(self._joined(path))
        self._store.room.check(0, files=1)
        with disk_errors():
            try:
                os.close(self._store.open_folder(self._joined(path), make=True))
            except NotADirectoryError as error:
                raise FileRefused("exists", f"expected a folder, found a file: {error.filename}") from error

    def remove(self, path: str, identity: Identity) -> None:
        """Remove a file, if it is still the one that is meant; another one is left alone."""
        with disk_errors(), suppress(FileNotFoundError), self._around(path) as (folder, name):
            if _is(folder, name, identity):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)

    def rename(self, path: str, identity: Identity, new: str) -> str:
        """Rename a file durably, and number the new name if it is taken; return it.

        Raises:
            FileRefused: the new name is not accepted, the file is gone, or all names are taken.
        """
        check_allowed(self._store, new)
        self._store.check_path(self._joined(new))
        with disk_errors(), self._around(path) as (folder, name):
            if not _is(folder, name, identity):
                raise FileRefused("unknown", f"there is no file {path} any more")
            within, _, last = new.rpartition("/")
            with self._inside(within, make=self._store.limits.folders) as target:
                for candidate in candidates(last):
                    with suppress(FileExistsError):
                        _rename(folder, name, target, candidate)
                        os.fsync(target)
                        os.fsync(folder)
                        return f"{within}/{candidate}" if within else candidate
        raise FileRefused("exists", f"there are {MAX_COPIES} files of this name already")

    def set_times(self, path: str, identity: Identity, accessed: int, modified: int) -> None:
        """Set the times of a file, if it is still the one that is meant.

        Args:
            path: of the file.
            identity: which it is.
            accessed: Unix time.
            modified: Unix time.
        """
        with disk_errors(), suppress(FileNotFoundError), self._around(path) as (folder, name):
            file = os.open(name, _OPEN, dir_fd=folder)
            try:
                status = os.fstat(file)
                if (status.st_dev, status.st_ino) == identity:
                    os.utime(file, (accessed, modified))
            finally:
                os.close(file)

    def _joined(self, path: str) -> str:
        return "/".join(filter(None, (self._folder, path)))

    @contextmanager
    def _inside(self, path: str, *, make: bool = False) -> Iterator[int]:
        folder = self._store.open_folder(self._joined(path), make=make)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _around(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the folder that a path is in; yield it with the last name."""
        within, _, name = path.rpartition("/")
        with self._inside(within) as folder:
            yield folder, name


def _found(status: os.stat_result) -> Found | None:
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        return None
    return Found(
        (status.st_dev, status.st_ino),
        is_folder,
        status.st_size,
        status.st_mode,
        status.st_atime,
        status.st_mtime,
        status.st_ctime,
    )


def _is(folder: int, name: str, identity: Identity) -> bool:
    """Tell whether a name is that of a certain plain file."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) == identity


def _rename(folder: int, name: str, target: int, new: str) -> None:
    """Rename a file; raise FileExistsError if the new name is taken."""
    try:
        rename_new(folder, name, target, new)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        os.link(name, new, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
        os.unlink(name, dir_fd=folder)
