"""Folder that receives files, and the folder of unfinished uploads in it (`parts.py`).

Both are on the same file system. A crash at any point leaves a part behind and nothing else. A part gets its
name by link(2), or, where a file system has no hard links, by renameat2(2) with RENAME_NOREPLACE: neither
replaces or follows an existing file.

Names are looked up in the descriptors of the folders. A folder that is removed while the service runs is made
again for the next file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sockd_plugins.files.storage.kernel import rename_new
from sockd_plugins.files.storage.ledger import Ledger, Quota, source_key
from sockd_plugins.files.storage.names import MAX_COPIES, candidates
from sockd_plugins.files.storage.parts import PARTS, Part, Parts, open_parts
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.room import Room
from sockd_plugins.files.storage.state import Facts

__all__ = ["PARTS", "Limits", "Store"]

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a store.

    Attributes:
        max_size: bytes of a file at most.
        reserve: bytes that must stay free on the disk.
        reserve_files: files that other programs must be able to make there.
        mode: the permissions of a file; None leaves them to the umask and the folder's default ACL.
        unverified: name of the folder for files of which nobody can tell that they are whole; "" for none.
        keep_for: seconds for which an upload that can be resumed is kept.
        quota: what the service and each source may take.
    """

    max_size: int
    reserve: int = 0
    reserve_files: int = 0
    mode: int | None = None
    unverified: str = ""
    keep_for: float = 86400.0
    quota: Quota = field(default_factory=Quota)


class Store:
    """Folder that receives files; `open` makes one.

    Attributes:
        limits: its bounds.
        room: what may be taken of its disk.
        ledger: what is stored and being received.
        parts: the unfinished uploads.
        left_alone: names among the parts that no upload has made.
    """

    def __init__(self, path: Path, folder: int, parts: int, unverified: int | None, limits: Limits) -> None:
        self.limits = limits
        self.room = Room(folder, limits.reserve, limits.reserve_files)
        self.parts = Parts(parts, limits.keep_for)
        self.left_alone: Sequence[str] = ()
        self._path = path
        self._folder = folder
        self._unverified = unverified
        self.ledger = Ledger(limits.quota, self._folders, self.parts)

    @classmethod
    def open(cls, path: Path, limits: Limits) -> Store:
        """Open the folder, make it if it is missing, and remove what a crash has left behind.

        Args:
            path: the folder.
            limits: its bounds.

        Raises:
            OSError: files cannot be stored there; the text tells why.
        """
        with ExitStack() as on_failure:
            folder = _open_folder(path)
            on_failure.callback(os.close, folder)
            if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, "files cannot be created there", str(path))
            parts = open_parts(folder, path)
            on_failure.callback(os.close, parts)
            unverified = _open_inside(folder, path, limits.unverified) if limits.unverified else None
            if unverified is not None:
                on_failure.callback(os.close, unverified)
            store = cls(path, folder, parts, unverified, limits)
            store.left_alone = store.parts.sweep()
            store._try()
            on_failure.pop_all()
        return store

    def close(self) -> None:
        """Close the folders."""
        os.close(self.parts.folder)
        for folder in self._folders:
            os.close(folder)

    @property
    def _folders(self) -> tuple[int, ...]:
        return (self._folder,) if self._unverified is None else (self._folder, self._unverified)

    def create_part(self, facts: Facts, source: str, *, keep: bool) -> Part:
        """Create a part for a new file.

        Args:
            facts: what was announced; room for it must be there, but is not taken yet.
            source: the key of the sender.
            keep: whether the upload can be resumed.

        Raises:
            FileRefused: there is no room, or the sender or the service has its share.
            OSError: the disk fails.
        """
        size = facts.size or 0
        # With a mode of its own a file is private until it is whole.
        mode = 0o666 if self.limits.mode is None else 0o600
        with self.room.lock, self.ledger.entering(source, size):
            self.room.check(size, files=1)
            try:
                return self.parts.create(mode, source, facts, keep=keep)
            except FileNotFoundError:  # one of the folders was removed
                self._make_again()
                return self.parts.create(mode, source, facts, keep=keep)

    def publish(self, part: Part, name: str, *, verified: bool = True) -> str:
        """Make a part durable under its name, or under a numbered one if that is taken.

        Args:
            part: the part.
            name: as `safe_name` returned it.
            verified: whether the file is known to be whole; others may have a folder of their own.

        Returns:
            The name that it has got, with its folder if it is not verified.

        Raises:
            FileRefused: all names are taken, the part is gone, or the service has its share.
            OSError: the disk fails; the file has no name then.
        """
        if self.limits.mode is not None:
            os.fchmod(part.file, self.limits.mode)
        os.fsync(part.file)
        folder, prefix = self._folder, ""
        if not verified and self._unverified is not None:
            self._make_unverified_again()
            folder, prefix = self._unverified, f"{self.limits.unverified}/"
        status = os.fstat(part.file)
        with self.ledger.storing(part.source, part.id, status.st_size):
            candidate = self._name(part, folder, name)
        try:
            os.fsync(folder)
        except OSError:
            os.unlink(candidate, dir_fd=folder)
            raise
        return prefix + candidate

    def _name(self, part: Part, folder: int, name: str) -> str:
        """Give a part the first name that is free."""
        if not self.parts.is_there(part):
            raise FileRefused("io", f"its part was removed from {PARTS}")
        for candidate in candidates(name):
            with suppress(FileExistsError):
                try:
                    _give_name(self.parts.folder, part.name, folder, candidate)
                except FileNotFoundError:
                    raise FileRefused("io", f"its part was removed from {PARTS}") from None
                return candidate
        raise FileRefused("exists", f"there are {MAX_COPIES} files of this name already")

    def _make_again(self) -> None:
        """Make a removed folder again, behind the same descriptor."""
        if not os.fstat(self._folder).st_nlink:
            _replace(self._folder, _open_folder(self._path))
        try:
            _replace(self.parts.folder, open_parts(self._folder, self._path))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise FileRefused("io", f"{PARTS} on the server cannot be used: {reason}") from error

    def _make_unverified_again(self) -> None:
        if self._unverified is not None and not os.fstat(self._unverified).st_nlink:
            _replace(self._unverified, _open_inside(self._folder, self._path, self.limits.unverified))

    def _try(self) -> None:
        """Check that files can be stored here. A full disk is no fault, because it may get free again."""
        try:
            part = self.parts.create(0o600, source_key(""), Facts(""), keep=False)
        except OSError as error:
            if error.errno in _FULL:
                return
            raise self._unfit(error) from error
        name = f"{part.id}-named"
        try:
            kept = self._keeps_mode(part.file)
            _give_name(self.parts.folder, part.name, self.parts.folder, name)
        except OSError as error:
            if error.errno in _FULL:
                return
            raise self._unfit(error) from error
        finally:
            self.parts.remove(part)
            with suppress(OSError):
                os.unlink(name, dir_fd=self.parts.folder)
            part.close()
        if not kept:
            why = f"its file system does not keep the permissions {self.limits.mode:03o}; leave out 'mode'"
            raise PermissionError(errno.EPERM, why, str(self._path))

    def _keeps_mode(self, file: int) -> bool:
        """Tell whether the file system keeps the permissions that files are to have; FAT does not."""
        if self.limits.mode is None:
            return True
        with suppress(PermissionError):
            os.fchmod(file, self.limits.mode)
        return stat.S_IMODE(os.fstat(file).st_mode) == self.limits.mode

    def _unfit(self, error: OSError) -> OSError:
        number = error.errno or errno.EIO
        if number != errno.EOPNOTSUPP:
            why = f"files cannot be stored there: {os.strerror(number).lower()}"
            return OSError(number, why, str(self._path))
        why = (
            "its file system has neither hard links nor a rename that replaces nothing"
            " (renameat2 with RENAME_NOREPLACE), so files cannot be stored there safely"
        )
        return OSError(number, why, str(self._path))


def _open_folder(path: Path) -> int:
    """Open a folder; if it was missing, make it durably."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in missing:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _open_inside(folder: int, path: Path, name: str) -> int:
    """Open a folder within another, and make it durably if it is missing.

    Args:
        folder: the descriptor of the folder that it is in.
        path: of that folder, for messages.
        name: its name.
    """
    with suppress(FileExistsError):
        os.mkdir(name, stat.S_IMODE(os.fstat(folder).st_mode) & 0o777, dir_fd=folder)
        os.fsync(folder)
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        raise OSError(error.errno, f"expected a folder: {error.strerror}", str(path / name)) from error


def _give_name(source_folder: int, source: str, folder: int, name: str) -> None:
    """Give a file a name in another folder; raise FileExistsError if the name is taken."""
    try:
        os.link(source, name, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_new(source_folder, source, folder, name)


def _replace(descriptor: int, other: int) -> None:
    """Let a descriptor refer to the file of another one, which is closed."""
    try:
        os.dup2(other, descriptor, inheritable=False)
    finally:
        os.close(other)
