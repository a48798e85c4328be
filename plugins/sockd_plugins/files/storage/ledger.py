"""Ledger: what a service has stored, and what it and each source are receiving, against what they may.

An upload is entered before its first byte. Its entry is the name of its part, which tells size and source, so
that all workers see it and a crash leaves no wrong entry. What is stored is counted in the folder and noted
in a file beside the parts; it is counted anew when something else has changed the folder. A lock on the
folder of the parts (flock(2)) makes a check and the change that follows it one step for all workers.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from threading import Lock

from sockd_plugins.files.storage.parts import TALLY, Parts, listed
from sockd_plugins.files.storage.refused import FileRefused

_TALLY = struct.Struct("=qq16s")  # bytes, files, and the mark of the folders that they belong to

_SWEEP_SECONDS = 1.0  # between two searches for the parts of crashed workers, at least


@dataclass(frozen=True, slots=True)
class Quota:
    """Bounds of what a service may take; 0 is no bound.

    Attributes:
        size: bytes of the files in its folder and of those that are being received.
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


def source_key(host: str) -> str:
    """Return the key of a source: of an IPv4 address, of the /64 of an IPv6 address, or of another text."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        source = host.encode()
    else:
        source = address.packed[:8] if isinstance(address, IPv6Address) else address.packed
    return hashlib.blake2b(source, digest_size=8).hexdigest()


class Ledger:
    """Ledger of one service.

    Args:
        quota: what the service and each source may take.
        folders: the descriptors of the folders with the stored files.
        parts: the unfinished uploads.
    """

    def __init__(self, quota: Quota, folders: Sequence[int], parts: Parts) -> None:
        self._quota = quota
        self._folders = folders
        self._parts = parts
        self._sweep_at = 0.0
        self._lock = Lock()  # flock(2) does not part the threads that share a descriptor

    @contextmanager
    def entering(self, source: str, size: int) -> Iterator[None]:
        """Check a new upload, and keep others from the ledger until its part is there.

        Args:
            source: the key of its sender.
            size: bytes that were announced; 0 if unknown.

        Raises:
            FileRefused: it would exceed a bound; the text has the numbers.
        """
        if not self._quota.bounds:
            yield
            return
        with self._locked():
            try:
                self._check(source, size, "", files=1)
            except FileRefused:
                if not self._swept():
                    raise
                self._check(source, size, "", files=1)
            yield

    def _swept(self) -> bool:
        """Remove the parts of a worker that has crashed; return False if that was done just now."""
        if time.monotonic() < self._sweep_at:
            return False
        self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        self._parts.sweep()
        return True

    def check_growth(self, source: str, id: str, size: int) -> None:  # noqa: A002
        """Refuse an upload of unknown size that has become too large for a bound.

        Args:
            source: the key of its sender.
            id: of the upload.
            size: bytes that it will have.
        """
        if self._quota.size or self._quota.source_size:
            with self._locked():
                self._check(source, size, id, files=0)

    @contextmanager
    def storing(self, source: str, id: str, size: int) -> Iterator[None]:  # noqa: A002
        """Note that an upload becomes a stored file while this context is open.

        Args:
            source: the key of its sender.
            id: of the upload.
            size: bytes of the file.
        """
        if not self._quota.counts_stored:
            yield
            return
        with self._locked():
            self._check(source, size, id, files=1)
            stored, files = self._stored()
            yield
            self._note(stored + size, files + 1, self._mark())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.flock(self._parts.folder, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._parts.folder, fcntl.LOCK_UN)

    def _check(self, source: str, size: int, without: str, files: int) -> None:
        """Compare all bounds with what is there and what is to come, an upload `without` not counted."""
        running = [entry for entry in self._parts.entries() if entry.id != without]
        own = [entry for entry in running if entry.source == source]
        quota = self._quota
        if quota.source_files and len(own) + files > quota.source_files:
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
        if not quota.counts_stored:
            return
        stored, count = self._stored()
        if quota.files and count + len(running) + files > quota.files:
            raise FileRefused(
                "quota",
                f"the folder may hold {quota.files} files: {count} are stored,"
                f" {len(running)} are being received",
            )
        coming = sum(entry.size for entry in running)
        if quota.size and stored + coming + size > quota.size:
            raise FileRefused(
                "quota",
                f"the folder may hold {quota.size} bytes: {stored} are stored, {coming} are being received,"
                f" and {size} more do not fit",
            )

    def _stored(self) -> tuple[int, int]:
        """Return the bytes and the number of the stored files."""
        mark = self._mark()
        noted = b""
        with suppress(OSError), self._tally() as file:
            noted = os.pread(file, _TALLY.size, 0)
        if len(noted) == _TALLY.size:
            size, files, noted_mark = _TALLY.unpack(noted)
            if noted_mark == mark:
                return size, files
        counts = [_count(folder) for folder in self._folders]
        size, files = sum(count[0] for count in counts), sum(count[1] for count in counts)
        self._note(size, files, mark)
        return size, files

    def _note(self, size: int, files: int, mark: bytes) -> None:
        """Keep the figures for the next check; without them it counts."""
        with suppress(OSError), self._tally() as file:
            os.pwrite(file, _TALLY.pack(size, files, mark), 0)

    def _mark(self) -> bytes:
        """Return what changes whenever a file gets or loses its name in one of the folders."""
        found = [os.fstat(folder) for folder in self._folders]
        text = repr([(status.st_ino, status.st_mtime_ns) for status in found])
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    @contextmanager
    def _tally(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.open(TALLY, flags, 0o600, dir_fd=self._parts.folder)
        try:
            yield file
        finally:
            os.close(file)


def _count(folder: int) -> tuple[int, int]:
    """Count the bytes and the number of the plain files in a folder."""
    size = files = 0
    for name in listed(folder):
        with suppress(FileNotFoundError):
            status = os.lstat(name, dir_fd=folder)
            if stat.S_ISREG(status.st_mode):
                size += status.st_size
                files += 1
    return size, files
