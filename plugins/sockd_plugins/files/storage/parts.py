"""Folder `.sockd-part` with the unfinished uploads, one file for each: its parts.

A part in use is locked (flock(2)) as long as its descriptor is open. The name of a part is

    ID-SIZE-SOURCE      16 hexadecimal digits; decimal bytes, or `x` if unknown; 16 hexadecimal digits

so that a listing of the folder tells what all processes together receive (`ledger.py`). An upload that can be
resumed has a second file, `ID.state` (`state.py`). After a crash, parts with a state are kept until they
expire, and the others are removed. A file is removed only while its name refers to the descriptor in hand.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.state import SUFFIX, Facts, State, create_state, open_state

PARTS = ".sockd-part"  # no received file can have this name, because it begins with a dot

TALLY = ".stored"
"""Name of the file in which the ledger keeps what is stored. It is no part."""

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

_NAME = re.compile(r"([0-9a-f]{16})-(\d{1,19}|x)-([0-9a-f]{16})", re.ASCII)
_STATE_NAME = re.compile(r"([0-9a-f]{16})" + re.escape(SUFFIX), re.ASCII)


@dataclass(slots=True)
class Part:
    """Part in use.

    Attributes:
        id: of the upload.
        name: in the folder of the parts.
        source: the key of the sender in the ledger.
        file: the descriptor, which holds the lock.
        state: of an upload that can be resumed.
    """

    id: str
    name: str
    source: str
    file: int
    state: State | None = None

    def close(self) -> None:
        """Close the descriptors, which ends the lock."""
        if self.state is not None:
            self.state.close()
        with suppress(OSError):  # the data that counts was synchronized before
            os.close(self.file)


@dataclass(frozen=True, slots=True)
class Entry:
    """Unfinished upload in the folder; `size` is the announced one, or what has arrived so far."""

    id: str
    size: int
    source: str


class Parts:
    """Folder of the parts; `open_parts` opens its descriptor.

    Args:
        folder: its descriptor, which stays the owner's.
        keep_for: seconds for which an upload that can be resumed is kept after its last byte.
    """

    def __init__(self, folder: int, keep_for: float) -> None:
        self.folder = folder
        self._keep_for = keep_for

    def create(self, mode: int, source: str, facts: Facts, *, keep: bool) -> Part:
        """Create an empty part, locked as long as it is open.

        Args:
            mode: its permissions, before the umask.
            source: the sender's key in the ledger.
            facts: what the sender has announced.
            keep: whether the upload can be resumed.

        Raises:
            OSError: the disk fails; nothing is left then.
        """
        size = "x" if facts.size is None else str(facts.size)
        while True:
            id = secrets.token_hex(8)  # noqa: A001
            name = f"{id}-{size}-{source}"
            try:
                file = os.open(name, _NEW, mode, dir_fd=self.folder)
            except FileExistsError:
                continue
            part = Part(id, name, source, file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file).st_nlink:
                    if keep:
                        part.state = create_state(self.folder, id, facts)
                        os.fsync(self.folder)
                    return part
            except BlockingIOError:
                pass  # another process found it before it was locked, and removes it
            except OSError:
                self.remove(part)
                part.close()
                raise
            part.close()

    def resume(self, id: str) -> tuple[Part, State]:  # noqa: A002
        """Open the part of an upload that was interrupted, and lock it.

        Raises:
            FileRefused: there is none, or it is in use.
            OSError: the disk fails.
        """
        name = next((name for name in listed(self.folder) if name.startswith(f"{id}-")), None)
        match = _NAME.fullmatch(name or "")
        if name is None or match is None or match[1] != id:
            raise FileRefused("unknown", "there is no unfinished upload of this id; it may have expired")
        try:
            file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.folder)
        except FileNotFoundError:
            raise FileRefused("unknown", "there is no unfinished upload of this id; it has ended") from None
        part = Part(id, name, match[3], file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink != 1:  # it was published, or removed
                raise FileRefused("unknown", "there is no unfinished upload of this id; it has ended")
            part.state = state = open_state(self.folder, id)
        except BlockingIOError:
            part.close()
            raise FileRefused("busy", "another connection receives this upload") from None
        except FileNotFoundError:
            part.close()
            raise FileRefused("unknown", "the upload of this id cannot be resumed") from None
        except BaseException:  # whatever it was, no descriptor and no lock stay
            part.close()
            raise
        return part, state

    def is_there(self, part: Part) -> bool:
        """Tell whether the name of a part still refers to its descriptor."""
        return _refers(self.folder, part.name, part.file)

    def remove(self, part: Part) -> None:
        """Remove a part with its state, if they still exist. The next start removes what is left."""
        with suppress(OSError):
            if part.state is not None:
                os.unlink(part.id + SUFFIX, dir_fd=self.folder)
        with suppress(OSError):
            if self.is_there(part):
                os.unlink(part.name, dir_fd=self.folder)

    def entries(self) -> Iterator[Entry]:
        """List the unfinished uploads of all processes."""
        for name in listed(self.folder):
            if (match := _NAME.fullmatch(name)) is None:
                continue
            id, size, source = match.groups()  # noqa: A001
            if size != "x":
                yield Entry(id, int(size), source)
                continue
            with suppress(FileNotFoundError):
                yield Entry(id, os.stat(name, dir_fd=self.folder, follow_symlinks=False).st_size, source)

    def sweep(self) -> list[str]:
        """Remove the parts that no process holds and no sender can resume any more.

        Returns:
            The names that are no parts or cannot be removed.
        """
        left_alone = []
        names = sorted(listed(self.folder))
        ids = {entry.id for entry in self.entries()}  # listed later, as a part is there before its state
        for name in names:
            if name == TALLY or ((state := _STATE_NAME.fullmatch(name)) and state[1] in ids):
                continue
            try:
                with suppress(FileNotFoundError, BlockingIOError):
                    if not self._sweep(name):
                        left_alone.append(name)
            except OSError:
                left_alone.append(name)
        return left_alone

    def _sweep(self, name: str) -> bool:
        """Remove a file that no process needs; return False if it is no plain file."""
        # Opening a device may have effects, so the kind is checked before; a link is not followed.
        status = os.lstat(name, dir_fd=self.folder)
        if not stat.S_ISREG(status.st_mode):
            return False
        match = _NAME.fullmatch(name)
        state = match[1] + SUFFIX if match else None
        if state is not None and status.st_nlink == 1 and self._waits(state):
            return True  # without a lock, which its sender may want in this moment
        file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if state is not None and os.fstat(file).st_nlink == 1 and self._waits(state):
                return True
            if state is not None:
                with suppress(FileNotFoundError):
                    os.unlink(state, dir_fd=self.folder)
            if _refers(self.folder, name, file):
                os.unlink(name, dir_fd=self.folder)
        finally:
            os.close(file)
        return True

    def _waits(self, state: str) -> bool:
        """Tell whether an upload has a state that has not expired."""
        try:
            age = time.time() - os.lstat(state, dir_fd=self.folder).st_mtime
        except FileNotFoundError:
            return False
        return age < self._keep_for


def listed(folder: int) -> list[str]:
    """List the names in a folder; unlike os.listdir(folder), also while another thread does."""
    own = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
    try:
        return os.listdir(own)
    finally:
        os.close(own)


def open_parts(folder: int, path: Path) -> int:
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


def _refers(folder: int, name: str, file: int) -> bool:
    """Tell whether a name refers to the file of a descriptor."""
    try:
        named = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(file))
