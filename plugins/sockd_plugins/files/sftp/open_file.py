"""File that a client writes: its WRITEs, put in order, become an upload.

An upload is published by `close` alone. A connection that is lost leaves it for the client to go on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

from twisted.internet.defer import Deferred

from sockd_plugins.files.sftp.packets import LARGEST
from sockd_plugins.files.storage.batch import Small
from sockd_plugins.files.storage.engine import LEAST_WINDOW, Engine, Incoming
from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Stored

_MOST_WINDOW = 1 << 20
"""Bytes to give the disk at once, at most: what stays in the cache of the processor on its way there."""

_BUFFER = _MOST_WINDOW + 2 * LARGEST
"""Bytes of a buffer: a window, whose last byte comes with a WRITE that was early, and one more WRITE. What
was not used takes no memory."""

_BLOCK = 64 << 10
"""Bytes of which the data for the disk ends at a multiple, so that the next begins at one (`direct.py`)."""

MOST_EARLY = 4 << 20
"""Bytes that may come before others that belong in front of them: what a client has unanswered at most."""

_EARLY_WRITES = 1024  # of them, however small

_NOTHING = memoryview(b"")


class OpenFile:
    """File that is open for writing.

    Args:
        engine: stores it.
        name: as `safe_path` returned it.
        sender: of the client.
        anew: whether it begins anew; else the first WRITE tells, by its offset, whether an interrupted upload
            goes on.
        size: that the client has announced, in bytes; None if it is not known.
        appends: whether the client goes on with a file that is there. OpenSSH's client then sets a size when
            it is interrupted, and at no other time.
        full_write: bytes of the WRITEs that the client sends until the end of the file; 0 if it is not known.

    Attributes:
        name: as given.
        times: that the file gets when it is published; None for the present.
        early: bytes in memory that belong behind others, which have not come.
        refused: why it cannot be published; None while it can.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        sender: Sender,
        *,
        anew: bool,
        size: int | None = None,
        appends: bool = False,
        full_write: int = 0,
    ) -> None:
        self.name = name
        self.times: tuple[int, int] | None = None
        self._engine = engine
        self._sender = sender
        self._anew = anew
        self._size = size
        self._appends = appends
        self._full_write = full_write
        self._is_begun = False  # whether the first WRITE has come
        self._upload: Incoming | None = None
        self._end = 0  # offset of the next byte in order
        self._last = 0  # bytes of the WRITE before it
        self.early = 0
        self._buffer = _NOTHING  # for data in order that is not on its way to the disk
        self._spare = _NOTHING  # on its way to the disk, or free
        self._collected = 0
        self._early: dict[int, bytes] = {}
        self._writing: Deferred[None] | None = None
        self._written = 0  # bytes on their way to the disk
        self._declared = size
        self.refused: FileRefused | None = None

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return self._collected + self.early + self._written

    @property
    def room(self) -> int:
        """Bytes of memory that `settle` frees."""
        return len(self._buffer) + len(self._spare)

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

    def take(self, offset: int, pieces: Sequence[Piece], size: int, most_early: int = MOST_EARLY) -> bool:
        """Take the data of a WRITE; return whether `pass_on` has to follow.

        Args:
            offset: where the data belongs.
            pieces: the data.
            size: its bytes, fewer than `LARGEST`.
            most_early: bytes that may come early, with those that have.

        Raises:
            FileRefused: it leaves a hole, it changes what has come, or the upload was refused before.
        """
        if self.refused is None and size:
            self._sort(offset, pieces, size, most_early)
        if self.refused is not None:
            raise self.refused
        return self._collected >= self._window

    def _sort(self, offset: int, pieces: Sequence[Piece], size: int, most_early: int) -> None:
        if offset == self._end:
            self._append(pieces, size)
            self._append_early()
        elif offset < self._end or self.early + size > most_early or len(self._early) >= _EARLY_WRITES:
            # A client may not look at the answer, so that the file must not be published without this data.
            self._refuse(
                FileRefused("bad-request", f"expected data from byte {self._end} on, found byte {offset}")
            )
        elif (known := self._early.get(offset)) is None:
            self._early[offset] = b"".join(pieces)
            self.early += size
        elif known != b"".join(pieces):
            self._refuse(FileRefused("bad-request", f"the data at byte {offset} came twice, and differs"))

    async def pass_on(self, *, everything: bool = False) -> None:
        """Give the disk what was collected, once it has taken what it was given before.

        Args:
            everything: whether to give the bytes behind the last block, too.
        """
        await self._wait()
        size = self._collected
        if not everything:
            size -= self._end % _BLOCK
        if size <= 0 or self.refused is not None:
            return
        try:
            upload = self._upload or await self._start()
        except FileRefused as refused:
            self._refuse(refused)
            return
        data, rest = self._buffer[:size], self._buffer[size : self._collected]
        self._buffer, self._spare = self._spare, self._buffer
        self._written, self._collected = size, 0
        self._copy(rest)
        self._append_early()
        self._writing = Deferred.fromCoroutine(self._write(upload, data))

    async def settle(self) -> None:
        """Write everything that was collected, and free its memory.

        Raises:
            FileRefused: the upload was refused.
        """
        while self._collected and self.refused is None:
            await self.pass_on(everything=True)
        await self._wait()
        self._buffer = self._spare = _NOTHING
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
        with suppress(FileRefused):  # it is left for that reason
            await self.settle()
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
        self._buffer, self._collected = _NOTHING, 0
        (stored,) = await self._engine.store_small([file], self._sender)
        if isinstance(stored, FileRefused):
            raise stored
        return stored

    def _check_whole(self) -> None:
        if self._early:
            raise FileRefused("incomplete", f"expected data from byte {self._end} on, found none")
        if self._declared not in (None, self._end):
            raise FileRefused("incomplete", f"expected {self._declared} bytes, found {self._end}")
        if self._last and self._last == self._full_write and (self._declared is None or self._appends):
            raise FileRefused("incomplete", "the client was interrupted, it seems; 'put -a' sends the rest")

    def _append(self, pieces: Sequence[Piece], size: int) -> None:
        """Put data behind what was collected."""
        for piece in pieces:
            self._copy(piece)
        self._end += size
        self._last = size

    def _append_early(self) -> None:
        """Put early data where it belongs, up to a window."""
        while self._early and self._collected < self._window and (data := self._early.pop(self._end, None)):
            self.early -= len(data)
            self._append((data,), len(data))

    def _copy(self, piece: Piece) -> None:
        """Copy data into the buffer, which begins at a page: the disk takes it from there without a copy."""
        if not self._buffer:
            self._buffer = memoryview(mmap(-1, _BUFFER, flags=MAP_PRIVATE | MAP_ANONYMOUS))
        end = self._collected + len(piece)
        self._buffer[self._collected : end] = piece
        self._collected = end

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
                self._spare = _NOTHING

    async def _wait(self) -> None:
        writing = self._writing
        if writing is not None:
            await writing
            if self._writing is writing:
                self._writing = None

    def _refuse(self, refused: FileRefused) -> None:
        """Refuse everything from now on, and free the memory."""
        self.refused = self.refused or refused
        self._buffer, self._collected = _NOTHING, 0
        self._early, self.early = {}, 0

    def _give_up(self) -> None:
        """Leave the upload to another connection that goes on with it."""
        self._refuse(FileRefused("busy", "another connection goes on with this file"))
        Deferred.fromCoroutine(self.leave())

    async def _leave(self, refused: FileRefused | None) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            await upload.__aexit__(None if refused is None else FileRefused, refused, None)
