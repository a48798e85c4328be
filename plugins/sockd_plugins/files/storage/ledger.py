"""Ledger: what a service has stored, and what it, each source and each user receive, against what they may.

An upload is entered before its first byte. Its entry is the name of its part, which tells size and source, so
that all workers see it and a crash leaves no wrong entry. What is stored is counted (`tally.py`). A lock on
the folder of the parts (flock(2)) makes a check and the change that follows it one step for all workers.

A file that is there already may come again although its folder is full: its sender may have lost the answer.
It is not stored twice, and another one of the same name and size is refused at its end.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock

from sockd_plugins.files.storage.parts import Entry, Parts
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender, Share
from sockd_plugins.files.storage.sweep import sweep
from sockd_plugins.files.storage.tally import Tally
from sockd_plugins.files.storage.twins import sizes_of

_SWEEP_SECONDS = 1.0  # between two searches for the parts of crashed workers, at least

_ATTEMPTS = 4
"""Times as large as a file that is there already that unfinished uploads may be for it to come again: some of
them may wait for room."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Bounds of what a service may take; 0 is no bound.

    Attributes:
        size: bytes of the files in its directory, with its folders, and of those that are being received.
        files: their number.
        source_size: bytes that a source may have announced or sent and not finished.
        source_files: uploads that a source may have begun and not finished.
    """

    size: int = 0
    files: int = 0
    source_size: int = 0
    source_files: int = 0

    @property
    def counts_stored(self) -> bool:
        """True if a bound concerns files that are stored."""
        return bool(self.size or self.files)

    @property
    def bounds(self) -> bool:
        """True if there is any bound."""
        return bool(self.counts_stored or self.source_size or self.source_files)


@dataclass(frozen=True, slots=True)
class _Entered:
    """Upload to check.

    Attributes:
        sender: whose it is.
        name: that was announced.
        size: bytes that it has or will have.
        id: of one that is in the ledger already, where it does not count then; "" for a new one.
        files: number of files that it adds to those.
        is_whole: whether its size is that of the whole file.
    """

    sender: Sender
    name: str
    size: int
    id: str = ""
    files: int = 0
    is_whole: bool = True


class Ledger:
    """Ledger of one service.

    Args:
        quota: what the service and each source may take.
        folder: the descriptor of the directory with the stored files.
        parts: the unfinished uploads.
    """

    def __init__(self, quota: Quota, folder: int, parts: Parts) -> None:
        self._quota = quota
        self._folder = folder
        self._tally = Tally(folder, parts.folder)
        self._parts = parts
        self._sweep_at = 0.0
        self._lock = Lock()  # flock(2) does not part the threads that share a descriptor

    @contextmanager
    def entering(self, sender: Sender, name: str, size: int | None) -> Iterator[None]:
        """Check a new upload, and keep others from the ledger until its part is there.

        Args:
            sender: who has announced it.
            name: that was announced.
            size: bytes that were announced; None if unknown.

        Raises:
            FileRefused: it would exceed a bound; the text has the numbers.
        """
        if not self._quota.bounds and sender.grant is None and sender.share is None:
            yield
            return
        entered = _Entered(sender, name, size or 0, files=1, is_whole=size is not None)
        with self._locked():
            try:
                self._check(entered)
            except FileRefused:
                if not self._swept():
                    raise
                self._check(entered)
            yield

    def _swept(self) -> bool:
        """Remove the parts of a worker that has crashed; return False if that was done just now."""
        if time.monotonic() < self._sweep_at:
            return False
        self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        sweep(self._parts)
        return True

    @contextmanager
    def growing(
        self,
        sender: Sender,
        name: str,
        id: str,  # noqa: A002
        size: int,
        *,
        is_whole: bool,
    ) -> Iterator[None]:
        """Check the size of an upload that was begun without one, and keep others from the ledger meanwhile.

        Args:
            sender: whose it is.
            name: that was announced.
            id: of the upload.
            size: bytes that it will have.
            is_whole: whether these are all.

        Raises:
            FileRefused: it exceeds a bound.
        """
        sized = self._quota.size or self._quota.source_size or (sender.share and sender.share.size)
        if not sized and sender.grant is None:
            yield
            return
        with self._locked():
            self._check(_Entered(sender, name, size, id, is_whole=is_whole))
            yield

    @contextmanager
    def storing(self, sender: Sender, id: str, size: int, folder: str) -> Iterator[None]:  # noqa: A002
        """Note that an upload becomes a stored file while this context is open.

        Args:
            sender: whose it is.
            id: of the upload.
            size: bytes of the file.
            folder: path of the folder that it is stored in.
        """
        if not self._quota.counts_stored and sender.share is None:
            yield
            return
        with self._locked():
            running = [entry for entry in self._parts.entries() if entry.id != id]
            own = [entry for entry in running if entry.source == sender.source]
            self._check_folders(sender, size, 1, running, own)
            yield
            self._tally.add(folder, size)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.flock(self._parts.folder, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._parts.folder, fcntl.LOCK_UN)

    def _check(self, entered: _Entered) -> None:
        """Compare the bounds with what is there and what is to come."""
        sender, size = entered.sender, entered.size
        running = [entry for entry in self._parts.entries() if entry.id != entered.id]
        own = [entry for entry in running if entry.source == sender.source]
        if sender.grant is not None:
            sender.grant.admit(entered.name, size, [entry.size for entry in own])
        quota = self._quota
        if quota.source_files and len(own) + entered.files > quota.source_files:
            raise FileRefused(
                "too-many",
                f"a source may have {quota.source_files} unfinished files, this one has {len(own)}",
            )
        if quota.source_size and (sent := sum(entry.size for entry in own)) + size > quota.source_size:
            raise FileRefused(
                "quota",
                f"a source may have {quota.source_size} bytes unfinished,"
                f" this one has {sent}, and {size} more do not fit",
            )
        try:
            self._check_folders(sender, size, entered.files, running, own)
        except FileRefused:
            if not self._may_be_there(entered, running):
                raise

    def _check_folders(
        self, sender: Sender, size: int, files: int, running: Sequence[Entry], own: Sequence[Entry]
    ) -> None:
        """Compare the bounds of the directory and of the sender's folder with what they hold."""
        quota, share = self._quota, sender.share
        if quota.counts_stored or share is not None:
            self._tally.count()
        if quota.counts_stored:
            bound = Share(quota.size, quota.files)
            _check_folder("the folder", bound, self._tally.total(), running, size, files)
        if share is not None:
            stored = self._tally.total(sender.folder)
            _check_folder(f"the folder of {sender.folder}", share, stored, own, size, files)

    def _may_be_there(self, entered: _Entered, running: Sequence[Entry]) -> bool:
        """Tell whether an upload may be a file that is stored already.

        It is no larger than that file, and all unfinished ones together are some times as large at most, so
        that little goes beyond the bound.
        """
        path = f"{entered.sender.folder}/{entered.name}".lstrip("/")
        with suppress(OSError):
            sizes = sizes_of(self._folder, path)
            largest = max(sizes, default=-1)
            coming = sum(entry.size for entry in running) + entered.size
            if entered.size > largest or coming > _ATTEMPTS * largest:
                return False
            return entered.size in sizes or not entered.is_whole
        return False


def _check_folder(
    whose: str, bound: Share, stored: tuple[int, int], running: Sequence[Entry], size: int, files: int
) -> None:
    """Compare the bound of a folder with what it holds, and with what is to come.

    Args:
        whose: the folder, in words.
        bound: what it may hold.
        stored: bytes and number of its files.
        running: unfinished uploads into it.
        size: bytes of one more.
        files: number of more files: 1, or 0 if that one is counted.

    Raises:
        FileRefused: one more does not fit.
    """
    size_stored, files_stored = stored
    if bound.files and files_stored + len(running) + files > bound.files:
        raise FileRefused(
            "quota",
            f"{whose} may hold {bound.files} file{'s' * (bound.files != 1)}: {files_stored} are stored,"
            f" {len(running)} are being received",
        )
    coming = sum(entry.size for entry in running)
    if bound.size and size_stored + coming + size > bound.size:
        raise FileRefused(
            "quota",
            f"{whose} may hold {bound.size} bytes: {size_stored} are stored, {coming} are being received,"
            f" and {size} more do not fit",
        )
