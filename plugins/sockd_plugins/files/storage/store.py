"""Folder that receives files, and the folder of unfinished uploads in it (`parts.py`).

Folders within it are made for files with relative names (`folders.py`). All are on the same file system. A
crash at any point leaves a part behind and nothing else. A part gets its name by link(2), or, where a file
system has no hard links, by renameat2(2) with RENAME_NOREPLACE: neither replaces or follows an existing file.

Names are looked up in the descriptors of the folders. A folder that is removed while the service runs is made
again for the next file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sockd_plugins.files.storage.beside import SUFFIX, check_beside
from sockd_plugins.files.storage.digests import Hashes
from sockd_plugins.files.storage.direct import DirectWriter
from sockd_plugins.files.storage.folders import open_folder, open_inside, replace_descriptor, write_small
from sockd_plugins.files.storage.kernel import rename_new
from sockd_plugins.files.storage.ledger import Ledger, Quota
from sockd_plugins.files.storage.names import MAX_COPIES, candidates
from sockd_plugins.files.storage.names_given import GivenNames
from sockd_plugins.files.storage.owner import Owner
from sockd_plugins.files.storage.parts import PARTS, Part, Parts, open_parts
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.room import Room
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Notices, Witness
from sockd_plugins.files.storage.sweep import sweep
from sockd_plugins.files.storage.twins import find_twin

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
        owner: of the files, and of the folders that are made for them.
        names: patterns of the names that files may have; none for any.
        own: name of a folder that no sender can send to; "" for none.
        unverified: name of the folder for files of which nobody can tell that they are whole; "" for none.
        folders: whether files may have relative names, so that folders are made for them.
        keep_for: seconds for which an upload that can be resumed is kept.
        quota: what the service and each source may take.
    """

    max_size: int
    reserve: int = 0
    reserve_files: int = 0
    mode: int | None = None
    owner: Owner = field(default_factory=Owner)
    names: tuple[str, ...] = ()
    own: str = ""
    unverified: str = ""
    folders: bool = False
    keep_for: float = 86400.0
    quota: Quota = field(default_factory=Quota)


class Store:
    """Folder that receives files; `open` makes one.

    Attributes:
        limits: its bounds.
        room: what may be taken of its disk.
        ledger: what is stored and being received.
        parts: the unfinished uploads.
        writer: of the data.
        witness: of stored files; None if there is none.
        notices: of received files; None if nobody is told of them.
        left_alone: names among the parts that no upload has made.
        hashes: running digests of interrupted uploads, by id and durable offset.
    """

    def __init__(self, path: Path, folder: int, parts: int, limits: Limits) -> None:
        self.limits = limits
        self.room = Room(folder, limits.reserve, limits.reserve_files)
        self.parts = Parts(parts, limits.keep_for)
        self.writer = DirectWriter()
        self.witness: Witness | None = None
        self.notices: Notices | None = None
        self.left_alone: Sequence[str] = ()
        self.hashes = Hashes()
        self._path = path
        self._folder = folder
        self.ledger = Ledger(limits.quota, folder, self.parts)

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
            folder = open_folder(path)
            on_failure.callback(os.close, folder)
            if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, "files cannot be created there", str(path))
            parts = open_parts(folder, path)
            on_failure.callback(os.close, parts)
            store = cls(path, folder, parts, limits)
            store.left_alone = sweep(store.parts)
            store._try()
            if limits.unverified:
                _make_inside(folder, path, limits)
            on_failure.pop_all()
        return store

    def close(self) -> None:
        """Close the folders."""
        os.close(self.parts.folder)
        os.close(self._folder)

    def open_folder(self, path: str, *, make: bool = False) -> int:
        """Open a folder in the directory, never through a symbolic link; "" for the directory itself.

        Args:
            path: as `safe_path` returned it.
            make: whether a missing one is made, durably.

        Raises:
            OSError: there is none, or the disk fails.
        """
        return open_inside(self._folder, path, make=make, owner=self.limits.owner)

    def create_part(self, facts: Facts, sender: Sender, *, keep: bool) -> Part:
        """Create a part for a new file.

        Args:
            facts: what was announced; room for it must be there, but is not taken yet.
            sender: who it is.
            keep: whether the upload can be resumed.

        Raises:
            FileRefused: there is no room, or the sender or the service has its share.
            OSError: the disk fails.
        """
        size = facts.size or 0
        # With a mode of its own a file is private until it is whole.
        mode = 0o666 if self.limits.mode is None else 0o600
        self.check_path(_joined(sender.folder, facts.name))
        with self.room.lock, self.ledger.entering(sender, facts.name, size):
            self.room.check(size, files=1)
            try:
                part = self.parts.create(mode, facts.size, sender.source)
            except FileNotFoundError:  # one of the folders was removed
                self._make_again()
                part = self.parts.create(mode, facts.size, sender.source)
        if keep:  # without the locks, as it waits for the disk
            self.parts.keep(part, facts, sender)
        return part

    def check_path(self, path: str) -> None:
        """Refuse a path that no sender may write to; folders that are missing are made later.

        Args:
            path: relative to the directory, as `safe_path` returned it.

        Raises:
            FileRefused: the folder is the service's own, or another file than a folder is on the way.
        """
        folder, _, _ = path.rpartition("/")
        if self.limits.own and path.partition("/")[0] == self.limits.own:
            raise FileRefused("bad-name", f"expected another name: {self.limits.own} is the service's own")
        if folder:
            with suppress(FileNotFoundError), _as_refusal():
                os.close(open_inside(self._folder, folder, make=False))

    def check_beside(self, part: Part, path: str) -> None:
        """Check the file to which a part with a digest belongs (`beside.py`).

        Raises:
            FileRefused: that file has another digest.
            OSError: the disk fails.
        """
        within, _, name = path.rpartition("/")
        if name.endswith(SUFFIX):
            with suppress(FileNotFoundError, NotADirectoryError):
                folder = open_inside(self._folder, within, make=False)
                try:
                    check_beside(folder, name, part.file, os.fstat(part.file).st_size)
                finally:
                    os.close(folder)

    def find_twin(self, part: Part, path: str) -> str | None:
        """Find a file with the bytes of a part under its path, or under a numbered name.

        Args:
            part: the part.
            path: relative to the directory, as `safe_path` returned it.

        Returns:
            The path of the other one, which a power cut cannot remove; None if there is none.

        Raises:
            OSError: the disk fails.
        """
        within, _, name = path.rpartition("/")
        try:
            folder = open_inside(self._folder, within, make=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            twin = find_twin(folder, name, part.file, os.fstat(part.file).st_size)
            if twin is None:
                return None
            os.fsync(folder)
        finally:
            os.close(folder)
        os.close(open_inside(self._folder, within))  # makes the way there durable
        return _joined(within, twin)

    def write_own(self, path: str, content: bytes) -> None:
        """Write a small file of the service's own durably, in place of an earlier one.

        Args:
            path: relative to the directory, in a folder that no sender can send to.
            content: of the file.

        Raises:
            OSError: the disk fails, or the path leads through another file than a folder.
        """
        within, _, name = path.rpartition("/")
        mode, owner = self.limits.mode, self.limits.owner
        folder = self.open_folder(within, make=True)
        try:
            write_small(folder, name, content, 0o666 if mode is None else mode, owner)
        finally:
            os.close(folder)

    def publish(
        self, part: Part, path: str, sender: Sender, names: GivenNames | None = None, *, new: bool = False
    ) -> str:
        """Make a part durable under a path, or under a numbered name if that is taken.

        Args:
            part: the part.
            path: relative to the directory, as `safe_path` returned it.
            sender: whose it is.
            names: takes the name, and makes it durable with others; None to do that here.
            new: whether a name that is taken is refused.

        Returns:
            The path that it has got.

        Raises:
            FileRefused: all names are taken, the part is gone, or the service has its share.
            OSError: the disk fails; the file has no name then.
        """
        within, _, name = path.rpartition("/")
        with _as_refusal():
            folder = self.open_folder(within, make=True)
        try:
            self.limits.owner.own(part.file, folder)
            if self.limits.mode is not None:
                os.fchmod(part.file, self.limits.mode)
            part.sync(metadata=True)
            size = os.fstat(part.file).st_size
            with self.ledger.storing(sender, part.id, size, within):
                candidate = self._name(part, folder, name, new=new)
            if names is not None:
                names.add(within, folder, candidate)
                return _joined(within, candidate)
            try:
                os.fsync(folder)
            except OSError:
                os.unlink(candidate, dir_fd=folder)
                raise
        finally:
            os.close(folder)
        return _joined(within, candidate)

    def _name(self, part: Part, folder: int, name: str, *, new: bool) -> str:
        """Give a part the first name that is free; only the wanted one if the file must be `new`."""
        if not self.parts.is_there(part):
            raise FileRefused("io", f"its part was removed from {PARTS}")
        for candidate in (name,) if new else candidates(name):
            with suppress(FileExistsError):
                try:
                    _give_name(self.parts.folder, part.name, folder, candidate)
                except FileNotFoundError:
                    raise FileRefused("io", f"its part was removed from {PARTS}") from None
                return candidate
        many = "is a file" if new else f"are {MAX_COPIES} files"
        raise FileRefused("exists", f"there {many} of this name already")

    def _make_again(self) -> None:
        """Make a removed folder again, behind the same descriptor."""
        if not os.fstat(self._folder).st_nlink:
            replace_descriptor(self._folder, open_folder(self._path))
        try:
            replace_descriptor(self.parts.folder, open_parts(self._folder, self._path))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise FileRefused("io", f"{PARTS} on the server cannot be used: {reason}") from error

    def _try(self) -> None:
        """Check that files can be stored here. A full disk is no fault, because it may get free again."""
        try:
            part = self.parts.create(0o600, None, Sender().source)
        except OSError as error:
            if error.errno in _FULL:
                return
            raise self._unfit(error) from error
        name = f"{part.id}-named"
        try:
            fault = self._fault(part.file)
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
        if fault is not None:
            raise PermissionError(errno.EPERM, fault, str(self._path))

    def _fault(self, file: int) -> str | None:
        """Return why files cannot have the owner or the permissions that they are to have; None if they can.

        File systems such as FAT keep neither.
        """
        try:
            self.limits.owner.own(file, self.parts.folder)
        except PermissionError:
            return "files cannot be given to their owner there; leave out 'owner'"
        mode = self.limits.mode
        if mode is not None:
            with suppress(PermissionError):
                os.fchmod(file, mode)
            if stat.S_IMODE(os.fstat(file).st_mode) != mode:
                return f"its file system does not keep the permissions {mode:03o}; leave out 'mode'"
        return None

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


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


@contextmanager
def _as_refusal() -> Iterator[None]:
    """Refuse a path that leads through another file than a folder."""
    try:
        yield
    except NotADirectoryError as error:
        raise FileRefused("exists", f"expected a folder, found something else: {error.filename}") from error


def _make_inside(folder: int, path: Path, limits: Limits) -> None:
    """Make the folder for unverified files if it is missing; an error has the whole path."""
    try:
        os.close(open_inside(folder, limits.unverified, owner=limits.owner))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path / limits.unverified)) from error


def _give_name(source_folder: int, source: str, folder: int, name: str) -> None:
    """Give a file a name in another folder; raise FileExistsError if the name is taken."""
    try:
        os.link(source, name, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_new(source_folder, source, folder, name)
