"""File being received: it appears under its name whole and durable, or not at all.

The data goes into a part (`parts.py`), for which room is taken as the data comes. It is synchronized every
few megabytes, so that a crash or a power cut costs little, and an offset that a sender is told stays true.
`commit` makes the rest durable, and gives the part its name, durably and without replacing a file.

Every call here waits for the disk. One thread at a time may use an upload.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from sockd_plugins.files.storage.bounds import check_name, check_size, owner_going_on
from sockd_plugins.files.storage.digests import Mark, add_file, check_digests, digests_of, new_digest
from sockd_plugins.files.storage.finished import Finished, note_finished
from sockd_plugins.files.storage.kernel import start_writing
from sockd_plugins.files.storage.names_given import GivenNames
from sockd_plugins.files.storage.parts import Part
from sockd_plugins.files.storage.pieces import Piece, copy_file
from sockd_plugins.files.storage.publishing import publish
from sockd_plugins.files.storage.refused import FileRefused, disk_errors
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import Store
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.storage.unfinished import whole_part

__all__ = ["Piece", "Stored", "Upload"]

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


class Upload:
    """File being received; `begin` and `resume` make one.

    `close` or `suspend` must follow in every case, after `commit` too.

    Args:
        store: where it is to be stored.
        part: the part for its data.
        facts: what the sender has announced.
        sender: who it is.

    Attributes:
        facts: as given; with a size once that is known.
        sender: as given.
        size: bytes that were written.
        durable: bytes of them that a power cut cannot remove.
    """

    def __init__(self, store: Store, part: Part, facts: Facts, sender: Sender) -> None:
        self.facts = facts
        self.sender = sender
        self.size = 0
        self.durable = 0
        self._store = store
        self._part = part
        self._taken = 0  # bytes that have room on the disk
        self._hash = new_digest(facts.algorithm)
        self._mark: Mark | None = None
        self._synchronized = 0
        self._sync_at = time.monotonic() + SYNC_SECONDS
        self._failed = False  # a write: the file ends nobody knows where

    @classmethod
    def begin(cls, store: Store, facts: Facts, sender: Sender, *, keep: bool = False) -> Upload:
        """Begin an upload.

        Args:
            store: where it is to be stored.
            facts: what the sender announces.
            sender: who it is.
            keep: whether the upload can be resumed.

        Raises:
            FileRefused: its name is not accepted, or it is too large for a bound, a quota or the room.
        """
        check_name(store, facts.name)
        new_digest(facts.algorithm)
        with disk_errors():
            check_size(store, facts.size)
            return cls(store, store.create_part(facts, sender, keep=keep), facts, sender)

    @classmethod
    def resume(cls, store: Store, id: str, sender: Sender | None = None, at: int | None = None) -> Upload:  # noqa: A002
        """Go on with an upload that was interrupted.

        Args:
            store: where it is.
            id: of the upload.
            sender: who goes on; None if the id alone is to tell.
            at: offset to go on from; what is behind it is forgotten. None for the durable one.

        Raises:
            FileRefused: there is none, it is in use, another's or shorter than that, or the disk fails.
        """
        with disk_errors():
            part, state = store.parts.resume(id)
            try:
                upload = cls(store, part, state.facts, owner_going_on(state.sender, sender))
                state.cut(at)
                upload._reread(state.durable)
                state.sync()
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

    @property
    def digest(self) -> str:
        """Running digest of what was written, as "sha256=HEX" or "blake3=HEX"."""
        return f"{self.facts.algorithm}={self._hash.hexdigest()}"

    def is_wanted(self) -> bool:
        """Tell whether another process asks for the upload."""
        return self._store.parts.is_wanted(self._part.id)

    def write(self, *pieces: Piece) -> None:
        """Write the next bytes, and synchronize them if that is due.

        Raises:
            FileRefused: there is no room for them, they are more than was announced, or the disk fails.
        """
        length = sum(map(len, pieces))
        self._expect(end := self.size + length)
        with disk_errors():
            if end <= self._taken or self._take_room(end):
                self._write(pieces)
            else:
                with self._store.room.booked(length):
                    self._write(pieces)
        self.size = end
        due = self.kept and time.monotonic() >= self._sync_at
        if end - self._synchronized >= SYNC_BYTES or due:
            self.sync()

    def sync(self) -> int:
        """Make the bytes durable that were written, and return their number; none behind a mark counts.

        Raises:
            FileRefused: the disk fails. Nothing is known of the bytes since the last synchronization then.
        """
        end = self.size if self._mark is None else self._mark.size
        if self._synchronized == self.size and self.durable == end:
            return self.durable
        began = time.monotonic()
        state = self._part.state
        with disk_errors():
            self._part.sync()
            if state is not None and end != self.durable:
                state.record(end)
        self._synchronized = self.size
        self.durable = end
        now = time.monotonic()
        self._sync_at = now + max(SYNC_SECONDS, _SYNC_SHARE * (now - began))
        return self.durable

    def rest(self) -> None:
        """Make durable what was written, and let other processes have the part, which stays open.

        Raises:
            FileRefused: the disk fails.
        """
        self._check()
        self.sync()
        with disk_errors():
            self._part.leave()

    def wake(self) -> bool:
        """Go on after a rest; return False if another process has, or had, the part."""
        self._taken = self.size
        with disk_errors():
            return self._store.parts.take_again(self._part)

    def drop(self) -> None:
        """Close the part after a rest."""
        self._part.close()

    def go_on_as(self, sender: Sender) -> None:
        """Let a sender go on with the upload.

        Raises:
            FileRefused: it is another's, or the sender's right is at its end.
        """
        self.sender = owner_going_on(self.sender, sender)

    def note(self, stored: Stored) -> None:
        """Note what became of the upload, for a client that asks again."""
        with suppress(OSError):
            note_finished(self._store.parts.folder, self.id, Finished(self.facts, stored, self.sender))

    def declare(self, size: int) -> None:
        """Note a size that was not known at the beginning.

        Args:
            size: bytes of the whole file.

        Raises:
            FileRefused: it is another than before, less than what has come, or exceeds a bound.
        """
        if self.facts.size == size:
            return
        if self.facts.size is not None:
            raise FileRefused("bad-request", f"expected a size of {self.facts.size} as before, found {size}")
        if size < self.size:
            raise FileRefused("bad-request", f"expected a size of {self.size} bytes or more, found {size}")
        check_size(self._store, size)
        with disk_errors(), self._grows(size, is_whole=True):
            self._store.room.check(size - self.size)
            self._store.parts.declare(self._part, size)
        self.facts = replace(self.facts, size=size)

    def append(self, id: str) -> None:  # noqa: A002
        """Add the data of another upload, which is whole and not published, and stays as it is.

        Args:
            id: of the other one.

        Raises:
            FileRefused: there is none of this id, it is in use, or not whole; or as `write`.
        """
        with disk_errors(), whole_part(self._store.parts, id, self.sender) as (file, size):
            self._expect(end := self.size + size)
            with self._store.room.booked(size):
                self._failed = True
                copy_file(file, self._part.file, size, self._hash)
                self._failed = False
            self.size = end
            self._taken = max(self._taken, end)

    def mark(self) -> None:
        """Remember the end of what was written; what comes behind it is not durable until the next mark."""
        self._mark = Mark(self.size, self._hash.copy())

    def unmark(self) -> None:
        """Let what was written since the mark count."""
        self._mark = None

    def rewind(self) -> None:
        """Forget what was written since the mark.

        Raises:
            FileRefused: the disk fails.
        """
        if self._mark is None:
            raise ValueError("there is no mark")
        with disk_errors():
            os.ftruncate(self._part.file, self._mark.size)
            os.lseek(self._part.file, self._mark.size, os.SEEK_SET)
        self.size, self._hash = self._mark.size, self._mark.hash.copy()
        self._taken = self.size
        self._synchronized = min(self._synchronized, self.size)
        self._failed = False

    def _take_room(self, end: int) -> bool:
        """Take room up to `end` and some more; return False if the file system cannot allocate."""
        ahead = end + min(_STEP, end)
        if self.facts.size is not None:
            ahead = max(end, min(ahead, self.facts.size))
        else:
            with self._grows(end, is_whole=False):
                pass
        file, start = self._part.file, self._taken
        self._taken += self._store.room.take(file, start, end - start, ahead - start)
        return end <= self._taken

    def _grows(self, size: int, *, is_whole: bool) -> AbstractContextManager[None]:
        name, ledger = self.facts.name, self._store.ledger
        return ledger.growing(self.sender, name, self.id, size, is_whole=is_whole)

    def _write(self, pieces: tuple[Piece, ...]) -> None:
        self._failed = True
        self._store.writer.write(self._part.file, pieces, self._hash)
        self._failed = False

    def _expect(self, end: int) -> None:
        """Refuse more bytes than there may be, and to go on after an error of the disk."""
        if end > (most := self._store.limits.max_size):
            raise FileRefused("too-large", f"expected at most {most} bytes, found more")
        if self.facts.size is not None and end > self.facts.size:
            raise FileRefused("incomplete", f"expected {self.facts.size} bytes, found more")
        self._check()

    def _check(self) -> None:
        """Refuse to go on after an error of the disk."""
        if self._failed or self._part.lost:
            raise FileRefused("io", "the disk has failed")

    def _reread(self, durable: int) -> None:
        """Hash what is durable, unless that is known, and drop the rest, which may be wrong."""
        file = self._part.file
        if (found := os.fstat(file).st_size) < durable:
            raise FileRefused("io", f"expected {durable} bytes of this upload, found {found}")
        os.ftruncate(file, durable)
        if digest := self._store.hashes.take(self.id, durable):
            self._hash, self.size = digest, durable
        else:
            self.size = add_file((self._hash,), file, durable)
        os.lseek(file, self.size, os.SEEK_SET)
        self._taken = self.durable = self._synchronized = durable

    def start_sync(self) -> None:
        """Begin to write what was written to the disk, without a wait."""
        start_writing(self._part.file)

    def commit(
        self,
        sha256: str | None = None,
        *,
        verified: bool = True,
        digests: Mapping[str, str] | None = None,
        names: GivenNames | None = None,
        new: bool = False,
    ) -> Stored:
        """Give the file its name; when this returns, a power cut cannot remove it.

        Args:
            sha256: what the sender says the digest is.
            verified: whether the sender has told the size or the digest.
            digests: more of them, by their algorithms.
            names: makes the name durable, together with others; None to do that here.
            new: whether the file must be the first of its name.

        Raises:
            FileRefused: it is not what was announced, there is no name left for it, or the disk fails.
        """
        if self.facts.size not in (None, self.size):
            raise FileRefused("incomplete", f"expected {self.facts.size} bytes, found {self.size}")
        self._check()
        expected = dict(digests or {})
        if sha256 is not None:
            expected["sha256"] = sha256
        algorithm = self.facts.algorithm
        found = {algorithm: self._hash.hexdigest()}
        with disk_errors():
            found |= digests_of(self._part.file, self.size, [name for name in expected if name not in found])
        check_digests(expected, found)
        unverified = "" if verified else self._store.limits.unverified
        path = "/".join(filter(None, (self.sender.folder, unverified, self.facts.name)))
        digest = f"{algorithm}={found[algorithm]}"
        stored = Stored(path, self.size, found.get("sha256", ""), digest, self.id, path)
        with disk_errors():
            if self._taken > self.size:
                os.ftruncate(self._part.file, self.size)  # gives back what was taken beyond the end
        return publish(self._store, self._part, self.sender, stored, names, new=new)

    def close(self) -> None:
        """Remove the part. A committed file has its name, and stays."""
        self._store.parts.remove(self._part)
        self._part.close()

    def suspend(self) -> None:
        """Leave the part to the sender's next connection, with as much of it durable as the disk allows."""
        try:
            if self._mark is not None:
                self.rewind()
            if not self._part.lost:
                self.sync()
            if not (self._part.lost or self._failed):  # a write that failed may have been hashed
                self._store.hashes.keep(self.id, self.durable, self._hash)
        finally:
            self._part.close()
