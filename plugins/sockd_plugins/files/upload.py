"""A file on its way to the disk: it appears under its name whole and durable, or not at all.

What arrives goes into a part in the folder `.sockd-part`, on the same file system. `commit` makes it
durable, links it to its name without replacing anything, and makes that durable too. A crash at any point
leaves a part behind and nothing else; every living part is locked, so the next start sweeps the dead
ones away, also while other processes receive into the same folder.

Everything here waits for the disk.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sockd_plugins.files.names import MAX_COPIES, candidates

PARTS = ".sockd-part"  # no file that is received can have this name: it begins with a dot

Code = Literal[
    "bad-request", "bad-name", "too-large", "disk-full", "exists", "incomplete", "digest-mismatch", "io"
]

_CODES: dict[int | None, Code] = {
    errno.ENOSPC: "disk-full",
    errno.EDQUOT: "disk-full",
    errno.EFBIG: "too-large",
}
_NO_PREALLOCATION = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}  # the file system cannot, which is fine


class Refused(Exception):
    """A file is not taken. The code is for programs, the text for people."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Stored:
    """What has become of a file that is on the disk; `name` may carry a number that it was not sent with."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Store:
    """A folder that receives files.

    Attributes:
        folder: the folder's descriptor; every name is looked up in it and nowhere else.
        parts: the descriptor of the folder within it where the parts are.
        max_size: the largest file, in bytes.
        reserve: how much of the disk must stay free, in bytes.
    """

    folder: int
    parts: int
    max_size: int
    reserve: int

    @classmethod
    def open(cls, path: Path, max_size: int, reserve: int) -> Store:
        """Open the folder, make it if it is missing, and remove what a crash has left behind."""
        _make(path)
        with ExitStack() as on_failure:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            on_failure.callback(os.close, folder)
            if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, "files cannot be created there", str(path))
            with suppress(FileExistsError):
                os.mkdir(PARTS, 0o700, dir_fd=folder)
            parts = os.open(PARTS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            on_failure.callback(os.close, parts)
            _sweep(parts)
            on_failure.pop_all()
        return cls(folder, parts, max_size, reserve)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.parts)
        os.close(self.folder)

    def check_room(self, size: int) -> None:
        """Refuse what would leave less than the reserve."""
        disk = os.fstatvfs(self.folder)
        if disk.f_bavail * disk.f_frsize < size + self.reserve:
            raise Refused("disk-full", f"there is no room for {size} more bytes")


class Upload:
    """One file being received; `close` must follow in every case, after `commit` too.

    Args:
        name: what it is to be called, as `safe_name` returned it.
        size: how many bytes will come; None if nobody knows yet.
    """

    def __init__(self, store: Store, name: str, size: int | None = None) -> None:
        if (size or 0) > store.max_size:
            raise Refused("too-large", f"expected at most {store.max_size} bytes, found {size}")
        self._store = store
        self._name = name
        self._expected = size
        self._size = 0
        self._hash = hashlib.sha256()
        with _disk_errors():
            store.check_room(size or 0)
            self._part, self._file = _create_part(store.parts)
            try:
                _preallocate(self._file, size or 0)
            except OSError:
                self.close()
                raise

    def write(self, data: bytes | bytearray) -> None:
        """Take the next bytes."""
        self._size += len(data)
        if self._size > self._store.max_size:
            raise Refused("too-large", f"expected at most {self._store.max_size} bytes, found more")
        self._hash.update(data)
        with _disk_errors():
            if self._expected is None:
                self._store.check_room(len(data))
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]

    def commit(self, sha256: str | None = None) -> Stored:
        """Give the file its name; when this returns, no power cut can take it away.

        Args:
            sha256: what the sender says the digest is.
        """
        if self._expected not in (None, self._size):
            raise Refused("incomplete", f"expected {self._expected} bytes, found {self._size}")
        digest = self._hash.hexdigest()
        if sha256 not in (None, digest):
            raise Refused("digest-mismatch", f"expected sha256={sha256}, found sha256={digest}")
        with _disk_errors():
            os.fsync(self._file)
            name = self._link()
            try:
                os.fsync(self._store.folder)
            except OSError:
                os.unlink(name, dir_fd=self._store.folder)
                raise
        return Stored(name, self._size, digest)

    def close(self) -> None:
        """Remove the part. A file that was committed has its name, and stays."""
        with suppress(OSError):  # what cannot be removed now, the next start sweeps
            os.unlink(self._part, dir_fd=self._store.parts)
        with suppress(OSError):  # what matters was synchronized before
            os.close(self._file)

    def _link(self) -> str:
        # link(2), unlike rename(2), never replaces and never follows what is there.
        for name in candidates(self._name):
            with suppress(FileExistsError):
                os.link(
                    self._part,
                    name,
                    src_dir_fd=self._store.parts,
                    dst_dir_fd=self._store.folder,
                    follow_symlinks=False,
                )
                return name
        raise Refused("exists", f"there are {MAX_COPIES} files of this name already")


def _make(path: Path) -> None:
    """Make a folder durable, so that what it holds can be."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in missing:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _create_part(parts: int) -> tuple[str, int]:
    """A new empty file, locked for as long as its descriptor is open."""
    while True:
        name = secrets.token_hex(8)
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parts)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                return name, file
        except BlockingIOError:
            pass  # a sweep by another process found it before it was locked, and removes it
        except OSError:
            os.unlink(name, dir_fd=parts)
            os.close(file)
            raise
        os.close(file)


def _sweep(parts: int) -> None:
    """Remove the parts that no process holds."""
    for name in os.listdir(parts):
        with suppress(FileNotFoundError, BlockingIOError):
            file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parts)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=parts)
            finally:
                os.close(file)


def _preallocate(file: int, size: int) -> None:
    """Take the room now, so that a full disk shows before the data is sent."""
    if size:
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            if error.errno not in _NO_PREALLOCATION:
                raise


@contextmanager
def _disk_errors() -> Iterator[None]:
    """What the disk says, in the words of the protocols, and without the paths of this machine."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO).lower()
        raise Refused(_CODES.get(error.errno, "io"), reason) from error
