"""File that a client writes: its WRITEs, put in order, become an upload.

An upload is published by `close` alone. A connection that is lost leaves it for the client to go on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from twisted.internet.defer import Deferred

from sockd_plugins.files.storage.batch import Small
from sockd_plugins.files.storage.engine import LEAST_WINDOW, Engine, Incoming
from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Stored

_MOST_WINDOW = 1 << 20
"""Bytes to give the disk at once, at most: what stays in the cache of the processor on its way there."""

_EARLY = 8 << 20
"""Bytes that may come before others that belong in front of them: what a client has unanswered at most."""

_EARLY_WRITES = 1024  # of them, however small


class OpenFile:
    """File that is open for writing.

    Args:
        engine: stores it.
        name: as `safe_path` returned it.
        sender: of the client.
        anew: whether it begins anew; else the first WRITE tells, by its offset, whether an interrupted upload
            goes on.
        size: that the client has announced, in bytes; None if it is not known.

    Attributes:
        name: as given.
        times: that the file gets when it is published; None for the present.
        refused: why it cannot be published; None while it can.
    """

    def __init__(
        self, engine: Engine, name: str, sender: Sender, *, anew: bool, size: int | None = None
    ) -> None:
        self.name = name
        self.times: tuple[int, int] | None = None
        self._engine = engine
        self._sender = sender
        self._anew = anew
        self._size = size
        self._is_begun = False  # whether the first WRITE has come
        self._upload: Incoming | None = None
        self._end = 0  # offset of the next byte in order
        self._buffer = memoryview(b"")  # for data in order that is not on its way to the disk
        self._spare = memoryview(b"")  # on its way to the disk, or free
        self._collected = 0
        self._early: dict[int, tuple[Sequence[Piece], int]] = {}
        self._early_bytes = 0
        self._writing: Deferred[None] | None = None
        self._written = 0  # bytes on their way to the disk
        self._declared = size
        self.refused: FileRefused | None = None

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return self._collected + self._early_bytes + self._written

    @property
    def unwritten(self) -> int:
        """Bytes of them that `settle` writes."""
        return self._collected + self._written

    @property
    def size(self) -> int:
        """Bytes that have come in order."""
        return self._end

    async def begin(self, offset: int = 0) -> None:
        """Go on with the interrupted upload of this name if the first WRITE is in the midst of the file.

        Args:
            offset: of the first WRITE.

        Raises:
            FileRefused: there is none to go on with, or less has come than that.
        """
        if self._anew or self._is_begun or self.refused is not None:
            return
        self._is_begun = True
        if offset:
            try:
                self._upload = await self._find(offset)
            except FileRefused as refused:
                self._refuse(refused)
                raise
            self._end = offset
            self._upload.on_taken(self._give_up)

    async def _find(self, offset: int) -> Incoming:
        old = await self._engine.search(self.name, self._sender)
        if old is None:
            raise FileRefused("bad-request", f"there is no unfinished upload of {self.name} to go on with")
        upload = await self._engine.find(old.id, self._sender, take_over=True, at=offset)
        if upload.received != offset:  # the machine has stopped, and lost what was not durable
            await upload.suspend()
            raise FileRefused("incomplete", f"expected data from byte {upload.received} on")
        return upload

    async def _start(self) -> Incoming:
        """Begin an upload, in place of an interrupted one."""
        await self._end_old()
        facts = Facts(self.name, self._size)
        self._upload = upload = await self._engine.begin(facts, self._sender, keep=True)
        upload.on_taken(self._give_up)
        return upload

    async def _end_old(self) -> None:
        """Remove an interrupted upload of this name: the file comes anew."""
        old = await self._engine.search(self.name, self._sender)
        if old is not None and not old.busy:
            await self._engine.end(old.id)

    def take(self, offset: int, pieces: Sequence[Piece], size: int) -> bool:
        """Take the data of a WRITE; return whether `pass_on` has to follow.

        Raises:
            FileRefused: it leaves a hole, it changes what has come, or the upload was refused before.
        """
        if self.refused is None:
            self._sort(offset, pieces, size)
        if self.refused is not None:
            raise self.refused
        return self._collected >= self._window

    def _sort(self, offset: int, pieces: Sequence[Piece], size: int) -> None:
        if offset == self._end:
            self._append(pieces, size)
            while self._early and (early := self._early.pop(self._end, None)):
                self._early_bytes -= early[1]
                self._append(*early)
        elif offset < self._end or self._early_bytes + size > _EARLY or len(self._early) >= _EARLY_WRITES:
            # A client may not look at the answer, so that the file must not be published without this data.
            self._refuse(
                FileRefused("bad-request", f"expected data from byte {self._end} on, found byte {offset}")
            )
        elif size and offset not in self._early:
            self._early[offset] = pieces, size
            self._early_bytes += size

    async def pass_on(self) -> None:
        """Give the disk what was collected, once it has taken what it was given before."""
        await self._wait()
        if not self._collected or self.refused is not None:
            return
        try:
            upload = self._upload or await self._start()
        except FileRefused as refused:
            self._refuse(refused)
            return
        data = self._buffer[: self._collected]
        self._buffer, self._spare = self._spare, self._buffer
        self._written, self._collected = self._collected, 0
        self._writing = Deferred.fromCoroutine(self._write(upload, data))

    async def settle(self) -> None:
        """Write everything that was collected.

        Raises:
            FileRefused: the upload was refused.
        """
        await self.pass_on()
        await self._wait()
        self._buffer = self._spare = memoryview(b"")
        if self.refused is not None:
            raise self.refused

    async def sync(self) -> None:
        """Make durable what has come."""
        await self.settle()
        if self._upload is not None:
            await self._upload.sync()

    def declare(self, size: int) -> None:
        """Note the size that a client sets, which the file must have when it is closed.

        Raises:
            FileRefused: it is less than what has come, or the upload was refused before.
        """
        if self.refused is not None:
            raise self.refused
        if size < self._end:
            raise FileRefused("bad-request", f"expected a size of {self._end} or more, found {size}")
        self._declared = size

    async def close(self) -> Stored:
        """Publish the file.

        Raises:
            FileRefused: it is not whole, or cannot be published; it is left for the client to go on with if
                that makes sense.
        """
        try:
            if self._upload is None:
                stored = await self._store_at_once()
            else:
                await self.settle()
                self._check_whole()
                stored = await self._upload.finish()
        except FileRefused as refused:
            await self._leave(refused)
            raise
        await self._leave(None)
        return stored

    async def leave(self) -> None:
        """Leave the upload for the client to go on with: its connection is lost."""
        await self.pass_on()
        await self._wait()
        with suppress(FileRefused):  # the disk fails; what is durable stays
            await self._leave(self.refused or FileRefused("incomplete", "the connection was lost"))

    async def discard(self) -> None:
        """Remove what has come: the client has removed the file that it has open."""
        self._refuse(FileRefused("incomplete", "the file was removed"))
        await self._wait()
        upload, self._upload = self._upload, None
        if upload is not None:
            await upload.abandon()

    async def _store_at_once(self) -> Stored:
        """Store a small file, of which all has come: it needs no state from which to go on."""
        if self.refused is not None:
            raise self.refused
        self._check_whole()
        empty = not self._anew and not self._end and self._declared is None
        if empty and await self._engine.search(self.name, self._sender):
            raise FileRefused("incomplete", "nothing was sent to go on with")
        await self._end_old()
        file = Small(Facts(self.name, self._end), [self._buffer[: self._collected]], {})
        self._collected = 0
        (stored,) = await self._engine.store_small([file], self._sender)
        if isinstance(stored, FileRefused):
            raise stored
        return stored

    def _check_whole(self) -> None:
        if self._early:
            raise FileRefused("incomplete", f"expected data from byte {self._end} on, found none")
        if self._declared not in (None, self._end):
            raise FileRefused("incomplete", f"expected {self._declared} bytes, found {self._end}")

    def _append(self, pieces: Sequence[Piece], size: int) -> None:
        """Copy data behind what was collected: the disk's thread takes one large piece much faster."""
        at = self._collected
        if at + size > len(self._buffer):
            self._enlarge(at + size)
        for piece in pieces:
            self._buffer[at : (at := at + len(piece))] = memoryview(piece)
        self._collected = at
        self._end += size

    def _enlarge(self, needed: int) -> None:
        """Take a buffer for the next window of the upload, or for more than that."""
        larger = memoryview(bytearray(max(needed, self._window)))
        larger[: self._collected] = self._buffer[: self._collected]
        self._buffer = larger

    @property
    def _window(self) -> int:
        return LEAST_WINDOW if self._upload is None else min(self._upload.window, _MOST_WINDOW)

    async def _write(self, upload: Incoming, data: memoryview) -> None:
        try:
            await upload.write([data])
        except FileRefused as refused:
            self._refuse(refused)
        finally:
            self._written = 0
            if upload.window == LEAST_WINDOW:  # a slow sender has no use for a second buffer
                self._spare = memoryview(b"")

    async def _wait(self) -> None:
        writing = self._writing
        if writing is not None:
            await writing
            if self._writing is writing:
                self._writing = None

    def _refuse(self, refused: FileRefused) -> None:
        """Refuse everything from now on, and free the memory."""
        self.refused = self.refused or refused
        self._buffer, self._collected = memoryview(b""), 0
        self._early, self._early_bytes = {}, 0

    def _give_up(self) -> None:
        """Leave the upload to another connection that goes on with it."""
        self._refuse(FileRefused("busy", "another connection goes on with this file"))
        Deferred.fromCoroutine(self.leave())

    async def _leave(self, refused: FileRefused | None) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            await upload.__aexit__(None if refused is None else FileRefused, refused, None)
