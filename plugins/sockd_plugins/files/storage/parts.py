"""Folder `.sockd-part` with the unfinished uploads, one file for each: its parts.

A part in use is locked (flock(2)) as long as its descriptor is open. The name of a part is

    ID-SIZE-SOURCE      16 hexadecimal digits; decimal bytes, or `x` if unknown; 16 hexadecimal digits

so that a listing of the folder tells what all processes together receive (`ledger.py`). An upload that can be
resumed has a second file, `ID.state` (`state.py`). After a crash, parts with a state are kept until they
expire, and the others are removed. A file is removed only while its name refers to the descriptor in hand.

A process that wants an upload which another one has makes a file `ID.wanted`; the other one looks for it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import SUFFIX, Facts, State, create_state, open_state

PARTS = ".sockd-part"  # no received file can have this name, because it begins with a dot

TALLY = ".stored"
"""Name of the file in which the ledger keeps what is stored. It is no part."""

WANTED = ".wanted"
"""End of the name of a file that asks for an upload."""

_LOCK_TRIES = 5
_LOCK_PAUSE = 0.01
"""Seconds between tries to lock a part: a sweep, or a look at it, holds a lock for less than that."""

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

PART_NAME = re.compile(r"([0-9a-f]{16})-(\d{1,19}|x)-([0-9a-f]{16})", re.ASCII)


@dataclass(slots=True)
class Part:
    """Part in use.

    Attributes:
        id: of the upload.
        name: in the folder of the parts.
        source: the key of the sender in the ledger.
        file: the descriptor, which holds the lock.
        state: of an upload that can be resumed.
        left: version of the state when others could have the part.
        lost: whether a synchronization has failed, so that nothing is known of the data since the last one.
    """

    id: str
    name: str
    source: str
    file: int
    state: State | None = None
    left: tuple[int, int] = (0, 0)
    lost: bool = False

    def sync(self, *, metadata: bool = False) -> None:
        """Make the data durable.

        Args:
            metadata: whether to do that with permissions and owner, too.

        Raises:
            OSError: the disk fails, or has before: another try would succeed without the data (fsync(2)).
        """
        if self.lost:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.lost = True
        if metadata:
            os.fsync(self.file)
        else:
            os.fdatasync(self.file)
        self.lost = False

    def leave(self) -> None:
        """Let other processes have the part, which stays open. All of it is durable."""
        if self.state is None:
            raise ValueError("it cannot be resumed")
        self.left = self.state.version()
        fcntl.flock(self.file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the descriptors, which ends the lock."""
        if self.state is not None:
            self.state.close()
        with suppress(OSError):  # the data that counts was synchronized before
            os.close(self.file)


@dataclass(frozen=True, slots=True)
class Entry:
    """Part in the folder.

    Attributes:
        id: of the upload.
        name: of the part.
        size: bytes that were announced, or have arrived so far.
        announced: bytes that were announced; None if the size is unknown.
        source: the key of the sender.
    """

    id: str
    name: str
    size: int
    announced: int | None
    source: str


class Parts:
    """Folder of the parts; `open_parts` opens its descriptor.

    Args:
        folder: its descriptor, which stays the owner's.
        keep_for: seconds for which an upload that can be resumed is kept after its last byte.
    """

    def __init__(self, folder: int, keep_for: float) -> None:
        self.folder = folder
        self.keep_for = keep_for
        self._known: dict[str, Entry] = {}  # as they were listed last

    def create(self, mode: int, size: int | None, source: str) -> Part:
        """Create an empty part, locked as long as it is open.

        Args:
            mode: its permissions, before the umask.
            size: bytes that were announced; None if unknown.
            source: the key of the sender.

        Raises:
            OSError: the disk fails; nothing is left then.
        """
        while True:
            id = secrets.token_hex(8)  # noqa: A001
            name = _part_name(id, size, source)
            try:
                file = os.open(name, _NEW, mode, dir_fd=self.folder)
            except FileExistsError:
                continue
            part = Part(id, name, source, file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file).st_nlink:
                    return part
            except BlockingIOError:
                pass  # another process found it before it was locked, and removes it
            except BaseException:  # whatever it was, nothing is left
                self.remove(part)
                part.close()
                raise
            part.close()

    def keep(self, part: Part, facts: Facts, sender: Sender) -> None:
        """Let a new part be resumed, durably.

        Args:
            part: a new one.
            facts: what the sender has announced.
            sender: who it is.

        Raises:
            FileRefused: too much was announced; nothing is left of the part then.
            OSError: the disk fails; nothing is left then.
        """
        try:
            part.state = create_state(self.folder, part.id, facts, sender)
            os.fsync(self.folder)
        except BaseException:  # whatever it was, nothing is left
            self.remove(part)
            part.close()
            raise

    def resume(self, id: str) -> tuple[Part, State]:  # noqa: A002
        """Open the part of an upload that was interrupted, and lock it.

        Raises:
            FileRefused: there is none, or it is in use.
            OSError: the disk fails.
        """
        entry, file = self._open(id)
        part = Part(id, entry.name, entry.source, file)
        try:
            _lock(file)
            if os.fstat(file).st_nlink != 1:  # it was published, or removed
                raise FileRefused("unknown", "there is no unfinished upload of this id; it has ended")
            if entry.announced is None:  # its size may have become known meanwhile
                entry = self.find(id)
                part.name = entry.name
            part.state = state = open_state(self.folder, id, entry.announced)
        except BlockingIOError:
            part.close()
            raise FileRefused("busy", "another connection receives this upload") from None
        except FileNotFoundError:
            part.close()
            raise FileRefused("unknown", "the upload of this id cannot be resumed") from None
        except BaseException:  # whatever it was, no descriptor and no lock stay
            part.close()
            raise
        self.unwant(id)
        return part, state

    def _open(self, id: str) -> tuple[Entry, int]:  # noqa: A002
        for _ in range(2):  # it has another name once its size becomes known
            entry = self.find(id)
            with suppress(FileNotFoundError):
                flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
                return entry, os.open(entry.name, flags, dir_fd=self.folder)
        raise FileRefused("unknown", "there is no unfinished upload of this id; it has ended")

    def declare(self, part: Part, size: int) -> None:
        """Note durably the size of an upload that was begun without one.

        Raises:
            OSError: the disk fails.
        """
        name = _part_name(part.id, size, part.source)
        os.rename(part.name, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        part.name = name
        os.fsync(self.folder)

    def want(self, id: str) -> None:  # noqa: A002
        """Ask the process that has an upload to leave it; on a full disk it does not hear of that."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        with suppress(OSError):
            os.close(os.open(id + WANTED, flags, 0o600, dir_fd=self.folder))

    def unwant(self, id: str) -> None:  # noqa: A002
        """Ask no more."""
        with suppress(OSError):
            os.unlink(id + WANTED, dir_fd=self.folder)

    def is_wanted(self, id: str) -> bool:  # noqa: A002
        """Tell whether a process asks for an upload."""
        return os.access(id + WANTED, os.F_OK, dir_fd=self.folder)

    def wanted(self) -> set[str]:
        """List the ids of the uploads that a process asks for."""
        return {name.removesuffix(WANTED) for name in listed(self.folder) if name.endswith(WANTED)}

    def is_locked(self, name: str) -> bool:
        """Tell whether a process has a part."""
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.folder)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def find(self, id: str) -> Entry:  # noqa: A002
        """Find a part.

        Raises:
            FileRefused: there is none.
        """
        for name in listed(self.folder):
            if name.startswith(f"{id}-") and (entry := self._entry(name)):
                return entry
        raise FileRefused("unknown", "there is no unfinished upload of this id; it may have expired")

    def take_again(self, part: Part) -> bool:
        """Lock a part that was left; what a process has added that was killed is cut off.

        Returns:
            False if another process has it, or had it and went on; it is not locked then.

        Raises:
            OSError: the disk fails.
        """
        try:
            _lock(part.file)
        except BlockingIOError:
            return False
        if part.state is None or not self.is_there(part) or part.state.version() != part.left:
            fcntl.flock(part.file, fcntl.LOCK_UN)
            return False
        if os.fstat(part.file).st_size != part.state.durable:
            os.ftruncate(part.file, part.state.durable)
        return True

    def is_there(self, part: Part) -> bool:
        """Tell whether the name of a part still refers to its descriptor."""
        return refers(self.folder, part.name, part.file)

    def remove(self, part: Part) -> None:
        """Remove a part with its state, if they still exist. The next start removes what is left."""
        with suppress(OSError):
            if part.state is not None:
                os.unlink(part.id + SUFFIX, dir_fd=self.folder)
        with suppress(OSError):
            if self.is_there(part):
                os.unlink(part.name, dir_fd=self.folder)

    def entries(self) -> list[Entry]:
        """List the unfinished uploads of all processes."""
        known, found = self._known, {}
        for name in listed(self.folder):
            entry = known.get(name)
            if entry is None or entry.announced is None:
                entry = self._entry(name)
            if entry is not None:
                found[name] = entry
        self._known = found
        return list(found.values())

    def _entry(self, name: str) -> Entry | None:
        if name.endswith(SUFFIX) or (match := PART_NAME.fullmatch(name)) is None:
            return None
        id, size, source = match.groups()  # noqa: A001
        if size != "x":
            return Entry(id, name, int(size), int(size), source)
        with suppress(FileNotFoundError):
            grown = os.stat(name, dir_fd=self.folder, follow_symlinks=False).st_size
            return Entry(id, name, grown, None, source)
        return None


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


def _part_name(id: str, size: int | None, source: str) -> str:  # noqa: A002
    return f"{id}-{'x' if size is None else size}-{source}"


def _lock(file: int) -> None:
    """Lock a part; raise BlockingIOError if another holder keeps it."""
    for _ in range(_LOCK_TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOCK_PAUSE)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def refers(folder: int, name: str, file: int) -> bool:
    """Tell whether a name in a folder refers to the file of a descriptor."""
    try:
        named = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(file))
