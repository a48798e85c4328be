"""Folder that receives files, and the folder of unfinished uploads in it (`parts.py`).

Folders within it are made for files with relative names (`folders.py`). All are on the same file system. A
crash at any point leaves a part behind and nothing else. A part gets its name by link(2), or, where a file
system has no hard links, by renameat2(2) with RENAME_NOREPLACE: neither replaces or follows an existing file.

Names are looked up in the descriptors of the folders. A folder that is removed while the service runs is made
again for the next file. When the folder is moved, and another one has got its path, the next file goes there,
once no upload that has begun before is received any more.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sockd_plugins.files.storage.beside import SUFFIX, check_beside
from sockd_plugins.files.storage.digests import Hashes
from sockd_plugins.files.storage.direct import DirectWriter
from sockd_plugins.files.storage.folders import open_folder, open_inside, replace_descriptor, write_small
from sockd_plugins.files.storage.kernel import give_name
from sockd_plugins.files.storage.ledger import Ledger
from sockd_plugins.files.storage.limits import Limits
from sockd_plugins.files.storage.names import MAX_COPIES, candidates
from sockd_plugins.files.storage.names_given import GivenNames
from sockd_plugins.files.storage.parts import PARTS, Part, Parts, open_parts
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.room import Room
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Notices, Witness
from sockd_plugins.files.storage.sweep import sweep
from sockd_plugins.files.storage.trial import try_folder
from sockd_plugins.files.storage.twins import find_twin

__all__ = ["PARTS", "Limits", "Store"]


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
        moved: called, in any thread, when the service goes on in another folder.
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
        self.moved: Callable[[], object] = lambda: None
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
            try_folder(path, folder, store.parts, limits)
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
        with self.room.lock:
            self._follow()
        with self.room.lock, self.ledger.entering(sender, facts.name, facts.size):
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

    def find_twin(self, part: Part, path: str, names: GivenNames | None = None) -> str | None:
        """Find a file with the bytes of a part under its path, or under a numbered name.

        Args:
            part: the part.
            path: relative to the directory, as `safe_path` returned it.
            names: makes the name durable, together with others; None to do that here.

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
        finally:
            os.close(folder)
        if twin is None:
            return None
        with self._folder_of(within, names) as folder:
            if names is None:
                os.fsync(folder)
            else:
                names.find(within, twin)
        return _joined(within, twin)

    @contextmanager
    def _folder_of(self, within: str, names: GivenNames | None) -> Iterator[int]:
        """Open a folder whose way is durable; those of a batch are opened once, and stay open."""
        if names is not None:
            with names.folder(within, lambda: self.open_folder(within, make=True)) as folder:
                yield folder
            return
        folder = self.open_folder(within, make=True)
        try:
            yield folder
        finally:
            os.close(folder)

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
        with _as_refusal(), self._folder_of(within, names) as folder:
            self.limits.owner.own(part.file, folder)
            if self.limits.mode is not None:
                os.fchmod(part.file, self.limits.mode)
            part.sync(metadata=True)
            size = os.fstat(part.file).st_size
            with self.ledger.storing(sender, part.id, size, within):
                candidate = self._name(part, folder, name, new=new)
            if names is not None:
                names.add(within, candidate)
            else:
                try:
                    os.fsync(folder)
                except OSError:
                    os.unlink(candidate, dir_fd=folder)
                    raise
        return _joined(within, candidate)

    def _name(self, part: Part, folder: int, name: str, *, new: bool) -> str:
        """Give a part the first name that is free; only the wanted one if the file must be `new`."""
        if not self.parts.is_there(part):
            raise FileRefused("io", f"its part was removed from {PARTS}")
        for candidate in (name,) if new else candidates(name):
            with suppress(FileExistsError):
                try:
                    give_name(self.parts.folder, part.name, folder, candidate)
                except FileNotFoundError:
                    raise FileRefused("io", f"its part was removed from {PARTS}") from None
                return candidate
        many = "is a file" if new else f"are {MAX_COPIES} files"
        raise FileRefused("exists", f"there {many} of this name already")

    def _follow(self) -> None:
        """Go on in the folder that has the path now, if the one that is open was moved.

        Raises:
            FileRefused: an upload is still received into the folder that was moved.
            OSError: files cannot be stored in the other one.
        """
        if self._is_in_place() or not os.fstat(self._folder).st_nlink:
            return
        for entry in self.parts.entries():
            with suppress(OSError):  # it has ended just now
                if self.parts.is_locked(entry.name):
                    why = "the folder on the server was moved, and uploads that have begun are still received"
                    raise FileRefused("busy", f"{why}; try again when they have ended")
        self._make_again()
        try_folder(self._path, self._folder, self.parts, self.limits)
        self.moved()

    def _is_in_place(self) -> bool:
        """Tell whether the folder that is open has its path, as far as that can be seen."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._folder))
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def _make_again(self) -> None:
        """Open the folder that has the path behind the same descriptor; make it if there is none."""
        if not self._is_in_place():
            replace_descriptor(self._folder, open_folder(self._path))
        try:
            replace_descriptor(self.parts.folder, open_parts(self._folder, self._path))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise FileRefused("io", f"{PARTS} on the server cannot be used: {reason}") from error


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


@contextmanager
def _as_refusal() -> Iterator[None]:
    """Refuse a path that leads through another file than a folder."""
    try:
        yield
    except NotADirectoryError as error:
        raise FileRefused("exists", f"expected a folder, found something else: {error.filename}") from error
