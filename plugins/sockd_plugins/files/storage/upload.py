"""File being received: it appears under its name whole and durable, or not at all.

The data goes into a part (`parts.py`), for which room is taken as the data comes. It is synchronized every
few megabytes, so that a crash or a power cut costs little, and an offset that a sender is told stays true.
`commit` makes the rest durable, gives the part its name without replacing a file, and makes the name durable
too.

Every call here waits for the disk. One thread at a time may use an upload.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from itertools import islice

from sockd_plugins.files.storage.ledger import source_key
from sockd_plugins.files.storage.parts import Part
from sockd_plugins.files.storage.refused import FileRefused, disk_errors
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import Store

_STEP = 8 << 20
"""Bytes of room to take ahead of the data at most: some hundred calls for a gigabyte, and a bound for what a
stalled upload keeps from others. At the beginning as many as have come already."""

SYNC_BYTES = 8 << 20
"""Bytes that are not synchronized at most: what a sender repeats after a power cut, and what the last
synchronization has to write."""

SYNC_SECONDS = 1.0
"""Time after which an upload that can be resumed is synchronized."""

_SYNC_SHARE = 10
"""Times as long as a synchronization took until the next one that is only due to time."""

_VECTORS = 1000  # pieces of one writev(2); IOV_MAX is 1024

_REREAD = 1 << 20  # bytes to hash at once of an upload that is resumed

Piece = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Stored:
    """File on the disk; `name` may have a number that the sender did not give."""

    name: str
    size: int
    sha256: str


class Upload:
    """File being received; `begin` and `resume` make one.

    `close` or `suspend` must follow in every case, after `commit` too.

    Args:
        store: where it is to be stored.
        part: the part for its data.
        facts: what the sender has announced.

    Attributes:
        facts: as given.
        size: bytes that were written.
        durable: bytes of them that a power cut cannot remove.
    """

    def __init__(self, store: Store, part: Part, facts: Facts) -> None:
        self.facts = facts
        self.size = 0
        self.durable = 0
        self._store = store
        self._part = part
        self._taken = 0  # bytes that have room on the disk
        self._hash = hashlib.sha256()
        self._sync_at = time.monotonic() + SYNC_SECONDS
        self._failed = False  # a write: the file ends nobody knows where
        self._lost = False  # a synchronization: a second one would succeed without the data (fsync(2))

    @classmethod
    def begin(cls, store: Store, facts: Facts, *, source: str = "", keep: bool = False) -> Upload:
        """Begin an upload.

        Args:
            store: where it is to be stored.
            facts: what the sender announces.
            source: address of the sender, for the ledger.
            keep: whether the upload can be resumed.

        Raises:
            FileRefused: the file is larger than allowed, or than the room that is left, or exceeds a quota.
        """
        if (facts.size or 0) > (most := store.limits.max_size):
            raise FileRefused("too-large", f"expected at most {most} bytes, found {facts.size}")
        with disk_errors():
            return cls(store, store.create_part(facts, source_key(source), keep=keep), facts)

    @classmethod
    def resume(cls, store: Store, id: str) -> Upload:  # noqa: A002
        """Go on with an upload that was interrupted, at its durable offset.

        Raises:
            FileRefused: there is no such upload, it is in use, or the disk fails.
        """
        with disk_errors():
            part, state = store.parts.resume(id)
            upload = cls(store, part, state.facts)
            try:
                upload._reread(state.durable)
            except BaseException:  # whatever it was, no descriptor and no lock stay
                part.close()
                raise
            return upload

    @property
    def id(self) -> str:
        """Id of the upload, by which it can be resumed."""
        return self._part.id

    @property
    def kept(self) -> bool:
        """True if the upload can be resumed."""
        return self._part.state is not None

    def write(self, *pieces: Piece) -> None:
        """Write the next bytes, and synchronize them if that is due.

        Raises:
            FileRefused: there is no room for them, or the disk fails.
        """
        length = sum(map(len, pieces))
        end = self.size + length
        if end > self._store.limits.max_size:
            raise FileRefused(
                "too-large", f"expected at most {self._store.limits.max_size} bytes, found more"
            )
        self._check()
        with disk_errors():
            if end <= self._taken or self._take_room(end):
                self._append(pieces, length)
            else:
                with self._store.room.booked(length):
                    self._append(pieces, length)
        for piece in pieces:
            self._hash.update(piece)
        self.size = end
        if end - self.durable >= SYNC_BYTES or (self.kept and time.monotonic() >= self._sync_at):
            self.sync()

    def sync(self) -> int:
        """Make the bytes durable that were written; return their number.

        Raises:
            FileRefused: the disk fails. Nothing is known of the bytes since the last synchronization then.
        """
        if self.durable == self.size:
            return self.durable
        if self._lost:
            raise FileRefused("io", "the disk has failed")
        began = time.monotonic()
        self._lost = True
        with disk_errors():
            os.fdatasync(self._part.file)
            if self._part.state is not None:
                self._part.state.record(self.size)
        self._lost = False
        self.durable = self.size
        now = time.monotonic()
        self._sync_at = now + max(SYNC_SECONDS, _SYNC_SHARE * (now - began))
        return self.durable

    def _take_room(self, end: int) -> bool:
        """Take room up to `end` and some more; return False if the file system cannot allocate."""
        ahead = end + min(_STEP, end)
        if self.facts.size is not None:
            ahead = max(end, min(ahead, self.facts.size))
        else:
            self._store.ledger.check_growth(self._part.source, self._part.id, end)
        file, start = self._part.file, self._taken
        self._taken += self._store.room.take(file, start, end - start, ahead - start)
        return end <= self._taken

    def _append(self, pieces: tuple[Piece, ...], length: int) -> None:
        self._failed = True
        if len(pieces) > _VECTORS:
            rest = iter(pieces)
            while group := tuple(islice(rest, _VECTORS)):
                self._append(group, sum(map(len, group)))
            return
        written = os.writev(self._part.file, pieces)
        if written < length:  # a signal, or the disk is nearly full
            left = memoryview(b"".join(pieces))[written:]
            while left:
                left = left[os.write(self._part.file, left) :]
        self._failed = False

    def _check(self) -> None:
        """Refuse to go on after an error of the disk."""
        if self._failed or self._lost:
            raise FileRefused("io", "the disk has failed")

    def _reread(self, durable: int) -> None:
        """Hash what is there, and drop what was not made durable."""
        file = self._part.file
        if (found := os.fstat(file).st_size) < durable:
            raise FileRefused("io", f"expected {durable} bytes of this upload, found {found}")
        os.ftruncate(file, durable)
        while piece := os.read(file, _REREAD):
            self._hash.update(piece)
            self.size += len(piece)
        self.durable = self._taken = durable

    def commit(self, sha256: str | None = None, *, verified: bool = True) -> Stored:
        """Give the file its name; when this returns, a power cut cannot remove it.

        Args:
            sha256: what the sender says the digest is.
            verified: whether the sender has told the size or the digest.

        Raises:
            FileRefused: it is not what was announced, there is no name left for it, or the disk fails.
        """
        if self.facts.size not in (None, self.size):
            raise FileRefused("incomplete", f"expected {self.facts.size} bytes, found {self.size}")
        digest = self._hash.hexdigest()
        if sha256 not in (None, digest):
            raise FileRefused("digest-mismatch", f"expected sha256={sha256}, found sha256={digest}")
        self._check()
        with disk_errors():
            if self._taken > self.size:
                os.ftruncate(self._part.file, self.size)  # gives back what was taken beyond the end
            name = self._store.publish(self._part, self.facts.name, verified=verified)
        return Stored(name, self.size, digest)

    def close(self) -> None:
        """Remove the part. A committed file has its name, and stays."""
        self._store.parts.remove(self._part)
        self._part.close()

    def suspend(self) -> None:
        """Leave the part to the sender's next connection, with as much of it durable as the disk allows."""
        try:
            if not self._lost:
                self.sync()
        finally:
            self._part.close()
