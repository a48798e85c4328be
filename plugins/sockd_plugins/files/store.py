"""Folder that receives files, and the folder `.sockd-part` in it for unfinished ones.

Both are on the same file system. A crash at any point leaves a part behind and nothing else. Every part in
use is locked, so the next start removes the others, also while other processes receive into the same folder.
A part gets its name by link(2), or, where a file system has no hard links, by renameat2(2) with
RENAME_NOREPLACE: neither replaces or follows an existing file.

Names are looked up in the descriptors of the two folders. A folder that is removed while the service runs is
made again for the next file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from sockd_plugins.files.kernel import rename_new
from sockd_plugins.files.names import MAX_COPIES, candidates
from sockd_plugins.files.refused import FileRefused
from sockd_plugins.files.room import Room

PARTS = ".sockd-part"  # no received file can have this name, because it begins with a dot

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Store:
    """Folder that receives files; `open` makes one.

    Attributes:
        max_size: bytes of a file at most.
        room: what may be taken of its disk.
        left_alone: names among the parts that no upload has made.
    """

    def __init__(
        self, path: Path, folder: int, parts: int, max_size: int, room: Room, mode: int | None
    ) -> None:
        self.max_size = max_size
        self.room = room
        self.left_alone: Sequence[str] = ()
        self._path = path
        self._folder = folder
        self._parts = parts
        self._mode = mode

    @classmethod
    def open(
        cls, path: Path, max_size: int, reserve: int, *, reserve_files: int = 0, mode: int | None = None
    ) -> Store:
        """Open the folder, make it if it is missing, and remove what a crash has left behind.

        Args:
            path: the folder.
            max_size: the largest file that is taken, in bytes.
            reserve: bytes that must stay free on the disk.
            reserve_files: how many files other programs must be able to make there.
            mode: the permissions of a file; None leaves them to the umask and the folder's default ACL.

        Raises:
            OSError: files cannot be stored there; the text tells why.
        """
        with ExitStack() as on_failure:
            folder = _open_folder(path)
            on_failure.callback(os.close, folder)
            if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, "files cannot be created there", str(path))
            parts = _open_parts(folder, path)
            on_failure.callback(os.close, parts)
            store = cls(path, folder, parts, max_size, Room(folder, reserve, reserve_files), mode)
            store.left_alone = _sweep(parts)
            store._try()
            on_failure.pop_all()
        return store

    def close(self) -> None:
        """Close both folders."""
        os.close(self._parts)
        os.close(self._folder)

    def create_part(self, size: int) -> tuple[str, int]:
        """Create a part for a new file.

        Args:
            size: bytes that were announced; room for them must be there, but is not taken yet.

        Returns:
            The part's name and its descriptor, which holds a lock on it.

        Raises:
            FileRefused: there is no room.
            OSError: the disk fails.
        """
        with self.room.lock:
            self.room.check(size, files=1)
            try:
                return self._create_part()
            except FileNotFoundError:  # one of the folders was removed
                self._make_again()
                return self._create_part()

    def publish(self, part: str, file: int, name: str) -> str:
        """Make a part durable under its name, or under a numbered one if that is taken.

        Args:
            part: its name as a part.
            file: its descriptor.
            name: as `safe_name` returned it.

        Returns:
            The name that it has got.

        Raises:
            FileRefused: all names are taken, or the part is gone.
            OSError: the disk fails; the file has no name then.
        """
        if self._mode is not None:
            os.fchmod(file, self._mode)
        os.fsync(file)
        for candidate in candidates(name):
            with suppress(FileExistsError):
                try:
                    _give_name(self._parts, part, self._folder, candidate)
                except FileNotFoundError:
                    raise FileRefused("io", f"its part was removed from {PARTS}") from None
                break
        else:
            raise FileRefused("exists", f"there are {MAX_COPIES} files of this name already")
        try:
            os.fsync(self._folder)
        except OSError:
            os.unlink(candidate, dir_fd=self._folder)
            raise
        return candidate

    def remove_part(self, part: str) -> None:
        """Remove a part, if it still exists."""
        with suppress(OSError):  # the next start removes what is left
            os.unlink(part, dir_fd=self._parts)

    def _create_part(self) -> tuple[str, int]:
        """Create an empty file, locked as long as its descriptor is open."""
        # With a mode of its own a file is private until it is whole.
        mode = 0o666 if self._mode is None else 0o600
        while True:
            name = secrets.token_hex(8)
            try:
                file = os.open(
                    name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=self._parts
                )
            except FileExistsError:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file).st_nlink:
                    return name, file
            except BlockingIOError:
                pass  # another process found it before it was locked, and removes it
            except OSError:
                os.unlink(name, dir_fd=self._parts)
                os.close(file)
                raise
            os.close(file)

    def _make_again(self) -> None:
        """Make a removed folder again, behind the same descriptor."""
        if not os.fstat(self._folder).st_nlink:
            _replace(self._folder, _open_folder(self._path))
        try:
            _replace(self._parts, _open_parts(self._folder, self._path))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise FileRefused("io", f"{PARTS} on the server cannot be used: {reason}") from error

    def _try(self) -> None:
        """Check that files can be stored here. A full disk is no fault, because it may get free again."""
        try:
            part, file = self._create_part()
        except OSError as error:
            if error.errno in _FULL:
                return
            raise self._unfit(error) from error
        name = f"{part}-named"
        try:
            kept = self._keeps_mode(file)
            _give_name(self._parts, part, self._parts, name)
        except OSError as error:
            if error.errno in _FULL:
                return
            raise self._unfit(error) from error
        finally:
            self.remove_part(part)
            self.remove_part(name)
            os.close(file)
        if not kept:
            why = f"its file system does not keep the permissions {self._mode:03o}; leave out 'mode'"
            raise PermissionError(errno.EPERM, why, str(self._path))

    def _keeps_mode(self, file: int) -> bool:
        """Tell whether the file system keeps the permissions that files are to have; FAT does not."""
        if self._mode is None:
            return True
        with suppress(PermissionError):
            os.fchmod(file, self._mode)
        return stat.S_IMODE(os.fstat(file).st_mode) == self._mode

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


def _open_parts(folder: int, path: Path) -> int:
    """Open the folder of the parts, and make it if it is missing.

    Args:
        folder: the descriptor of the folder that it is in.
        path: of that folder, for messages.

    Raises:
        OSError: another file has its name, such as a symbolic link, or it is another user's.
    """
    with suppress(FileExistsError):
        os.mkdir(PARTS, 0o700, dir_fd=folder)
    try:
        parts = os.open(PARTS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            why = "expected a folder for unfinished files, found something else"
            raise NotADirectoryError(errno.ENOTDIR, why, str(path / PARTS)) from error
        raise
    around, status = os.fstat(folder), os.fstat(parts)
    if status.st_uid not in (os.geteuid(), 0, around.st_uid):
        os.close(parts)
        raise PermissionError(errno.EPERM, f"it belongs to another user ({status.st_uid})", str(path / PARTS))
    if around.st_mode & stat.S_ISGID and status.st_gid != around.st_gid:
        with suppress(PermissionError):  # then files keep the process's group
            os.fchown(parts, -1, around.st_gid)
            os.fchmod(parts, 0o2700)
    return parts


def _sweep(parts: int) -> list[str]:
    """Remove the parts that no process holds; return the names that are no parts or cannot be removed."""
    left_alone = []
    for name in sorted(os.listdir(parts)):
        try:
            with suppress(FileNotFoundError, BlockingIOError):
                if not _sweep_part(parts, name):
                    left_alone.append(name)
        except OSError:
            left_alone.append(name)
    return left_alone


def _sweep_part(parts: int, name: str) -> bool:
    # Opening a device may have effects, so the kind is checked before; a link is not followed.
    if not stat.S_ISREG(os.lstat(name, dir_fd=parts).st_mode):
        return False
    file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parts)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=parts)
    finally:
        os.close(file)
    return True


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
