"""Upload in progress, as a protocol sees it: its disk is waited for in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import time
from types import TracebackType
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sockd_plugins.files.storage.direct import BLOCK, LEAST
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.unfinished import Unfinished
from sockd_plugins.files.storage.upload import Piece, Stored, Upload

LEAST_WINDOW = 1 << 16
"""Bytes that an upload collects for one piece of work at first: what a slow one costs."""

MOST_WINDOW = 4 << 20
"""Bytes for one piece of work at most: the change of threads costs nothing beside the disk then."""

_QUICK = 0.05
"""Seconds for a window, with its way to the disk, below which the next is twice as large."""

_SLOW = 0.5
"""Seconds for a window, with its way to the disk, above which the next is half as large."""

_FILL_SECONDS = 1.0
"""Seconds after which a window is written that is not full: a sender that stalls keeps no memory, and what is
not written of an upload that can be resumed is sent again."""

_FINAL = {"digest-mismatch", "too-large", "bad-name"}  # refusals after which going on would be in vain

T = TypeVar("T")


class Owner(Protocol):
    """Engine that an upload belongs to."""

    clock: IReactorTime

    def run(self, work: Callable[..., T], *args: object) -> Deferred[T]:
        """Run blocking work in a thread."""

    def entered(self, upload: Incoming) -> None:
        """Note that an upload goes on."""

    def left(self, upload: Incoming) -> None:
        """Note that an upload is over, or left to the sender's next connection."""

    def tell(self, stored: Stored) -> None:
        """Tell those of a file who want to know."""


class Incoming:
    """Upload in progress; a context, at the end of which it is over.

    Attributes:
        is_taken: whether another connection wants it; nothing more can be written then.
        is_left: whether it is over, or left to the sender's next connection.
        stored: the file, once it is finished.
    """

    def __init__(self, engine: Owner, upload: Upload) -> None:
        self._window = LEAST_WINDOW
        self.is_taken = False
        self._engine = engine
        self._upload = upload
        self._last = engine.clock.seconds()
        self._on_taken: Callable[[], object] | None = None
        self.is_left = False
        self.stored: Stored | None = None
        self._waiting: list[Deferred[None]] = []

    @property
    def id(self) -> str:
        """Id of the upload, by which it is found again."""
        return self._upload.id

    @property
    def kept(self) -> bool:
        """True if it can be resumed when its connection breaks."""
        return self._upload.kept

    @property
    def window(self) -> int:
        """Bytes to collect for the next `write`; a large window ends where a block of the file does."""
        return self._window if self._window < LEAST else self._window - self._upload.size % BLOCK

    @property
    def within(self) -> float | None:
        """Seconds in which to collect a window; None if a slow sender may take its time for a small one."""
        return _FILL_SECONDS if self.kept or self._window > LEAST_WINDOW else None

    @property
    def facts(self) -> Facts:
        """Announcement with which it was begun, with its size once that is known."""
        return self._upload.facts

    @property
    def sender(self) -> Sender:
        """Sender who has begun it."""
        return self._upload.sender

    @property
    def received(self) -> int:
        """Bytes that were written."""
        return self._upload.size

    @property
    def digest(self) -> str:
        """Running digest of what was written, as "sha256=HEX" or "blake3=HEX"."""
        return self._upload.digest

    @property
    def durable(self) -> int:
        """Bytes that neither a crash nor a power cut can remove; a sender may be told."""
        return self._upload.durable

    def look(self, keep_for: float) -> Unfinished:
        """Return what others may know of it.

        Args:
            keep_for: seconds for which it is kept after its last byte.
        """
        upload = self._upload
        return Unfinished(
            self.id,
            upload.facts,
            upload.sender,
            upload.size,
            upload.durable,
            busy=True,
            expires=time() + keep_for,
            kept=upload.kept,
        )

    def on_taken(self, callback: Callable[[], object]) -> None:
        """Call back when another connection wants the upload: stop reading then, and leave the context."""
        self._on_taken = callback
        if self.is_taken:
            callback()

    def take(self) -> None:
        """Take it from the connection that has it, which is called back."""
        if not self.is_taken:
            self.is_taken = True
            if self._on_taken is not None:
                self._on_taken()

    def wait_until_left(self) -> Deferred[None]:
        """Return what fires when the connection that has it has left it."""
        left: Deferred[None] = Deferred()
        if self.is_left:
            left.callback(None)
        else:
            self._waiting.append(left)
        return left

    async def write(self, pieces: Sequence[Piece]) -> None:
        """Write and hash the next bytes.

        Raises:
            FileRefused: there is no room for them, the disk fails, or another connection goes on.
        """
        if self.is_taken or await self._engine.run(self._write, pieces):
            self.take()
            raise FileRefused("taken", "another connection goes on with this upload")
        now = self._engine.clock.seconds()
        took, self._last = now - self._last, now
        if took < _QUICK:
            self._window = min(2 * self._window, MOST_WINDOW)
        elif took > _SLOW:
            self._window = max(self._window // 2, LEAST_WINDOW)

    def _write(self, pieces: Sequence[Piece]) -> bool:
        """Write, unless another process wants the upload; return whether it does."""
        wanted = self._upload.is_wanted()
        if not wanted:
            self._upload.write(*pieces)
        return wanted

    async def sync(self) -> int:
        """Make durable what was written; return the offset."""
        return await self._engine.run(self._upload.sync)

    async def rest(self) -> None:
        """Make durable what has come, and let others have the upload, whose part stays open.

        Raises:
            FileRefused: the disk fails.
        """
        await self._engine.run(self._upload.rest)
        self._leave()

    async def wake(self) -> bool:
        """Go on after a rest; return False if another connection has, or had, the upload.

        Raises:
            FileRefused: the disk fails.
        """
        if not await self._engine.run(self._upload.wake):
            return False
        self.is_left = self.is_taken = False
        self._engine.entered(self)
        return True

    async def drop(self) -> None:
        """Close the part after a rest."""
        await self._engine.run(self._upload.drop)

    def go_on_as(self, sender: Sender) -> None:
        """Let a sender go on with an upload that another connection has begun.

        Raises:
            FileRefused: it is another sender's.
        """
        self._upload.go_on_as(sender)

    async def declare(self, size: int) -> None:
        """Note a size that was not known at the beginning.

        Raises:
            FileRefused: it does not fit what is known and what has come, or exceeds a bound.
        """
        await self._engine.run(self._upload.declare, size)

    async def mark(self) -> None:
        """Remember the end of what was written, for `rewind`; what comes behind it is not durable yet."""
        await self._engine.run(self._upload.mark)

    async def unmark(self) -> None:
        """Let what was written since the mark count."""
        await self._engine.run(self._upload.unmark)

    async def rewind(self) -> None:
        """Forget what was written since the mark, such as a chunk with a wrong digest. The mark stays."""
        await self._engine.run(self._upload.rewind)

    async def append(self, id: str) -> None:  # noqa: A002
        """Add the data of another upload, which is whole and not published, and stays as it is.

        Raises:
            FileRefused: there is none of this id, it is in use, or not whole; or the disk fails.
        """
        await self._engine.run(self._upload.append, id)

    async def finish(
        self,
        sha256: str | None = None,
        *,
        verified: bool = True,
        digests: Mapping[str, str] | None = None,
        noted: bool = False,
        new: bool = False,
    ) -> Stored:
        """Check size and digests, publish the file, and return when it is durable.

        Args:
            sha256: the digest that the sender tells.
            verified: whether the file is known to be whole, from its size or its digest.
            digests: more digests, by their algorithms (`digests.KNOWN`).
            noted: whether `Engine.finished` is to find it.
            new: whether the file must be the first of its name.

        Raises:
            FileRefused: it is not as announced, or cannot be published.
        """
        self._on_taken = None  # it is over before anybody can go on
        commit = partial(self._upload.commit, sha256, verified=verified, digests=digests, new=new)
        self.stored = await self._engine.run(self._finish, commit, noted)
        self._engine.tell(self.stored)
        return self.stored

    def _finish(self, commit: Callable[[], Stored], noted: bool) -> Stored:
        stored = commit()
        if noted:
            self._upload.note(stored)
        return stored

    async def abandon(self) -> None:
        """Remove the upload, whether it can be resumed or not. A finished file stays."""
        try:
            await self._engine.run(self._upload.close)
        finally:
            self._leave()

    async def suspend(self) -> None:
        """Leave the upload to the sender's next connection, if it can be resumed; else remove it."""
        try:
            await self._engine.run(self._upload.suspend if self.kept else self._upload.close)
        finally:
            self._leave()

    def _leave(self) -> None:
        self.is_left = True
        self._engine.left(self)
        waiting, self._waiting = self._waiting, []
        for left in waiting:
            if not left.called:  # its time may be up
                left.callback(None)

    async def __aenter__(self) -> Incoming:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        final = isinstance(error, FileRefused) and error.code in _FINAL
        if self.is_left:
            return
        if error is None or final:
            await self.abandon()
        else:
            await self.suspend()
