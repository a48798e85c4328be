"""Uploads between two requests, kept open for a moment: the next one need not open and read the part again.

A client that sends a file in thousands of small requests would otherwise cost as many readings of the whole
part. An upload is closed after a while, at once when another connection or process wants it, and when too
many are open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sockd_plugins.files.storage.incoming import Incoming
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender

_SYNC_AFTER = 1.0
"""Seconds until what came last is made durable."""

_CLOSE_AFTER = 20.0
"""Seconds without a request until an upload is closed: longer than the pauses of clients that try again."""

_MOST = 200
"""Uploads that are kept open; each has two descriptors."""


class Find(Protocol):
    """Finds an upload that was interrupted."""

    def __call__(self, id: str, sender: Sender | None, *, take_over: bool) -> Awaitable[Incoming]:  # noqa: A002
        """Find an upload, as `Engine.find`."""


@dataclass(slots=True)
class _Parked:
    """Upload that waits for its next request.

    Attributes:
        upload: still open.
        call: what happens if none comes.
        synced: the synchronization that runs, or the last one.
    """

    upload: Incoming
    call: IDelayedCall
    synced: Deferred[None]


class Parking:
    """Uploads that wait for their next request.

    Args:
        clock: for the waiting.
        find: finds one that does not wait here (`Engine.find`).
    """

    def __init__(self, clock: IReactorTime, find: Find) -> None:
        self._clock = clock
        self._find = find
        self._parked: dict[str, _Parked] = {}  # the one that has waited longest is the first
        self._closing: set[Deferred[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def found(self, id: str, sender: Sender) -> AsyncIterator[Incoming]:  # noqa: A002
        """Go on with an upload, and end the connection that has it.

        Args:
            id: of the upload.
            sender: who goes on.

        Raises:
            FileRefused: there is none, it is another's, or the other connection does not end.
        """
        if (parked := self._parked.pop(id, None)) is None:
            upload = await self._find(id, sender, take_over=True)
        else:
            upload = await self._unpark(parked)
        async with self.begun(upload):
            upload.go_on_as(sender)
            yield upload

    @asynccontextmanager
    async def begun(self, upload: Incoming) -> AsyncIterator[Incoming]:
        """Use an upload that is open. Unless it is stored or fails, it waits for its next request then.

        Raises:
            FileRefused: the disk fails.
        """
        try:
            yield upload
            if upload.stored is None and not upload.is_left:
                await upload.settle()
        except BaseException as error:
            await upload.__aexit__(type(error), error, error.__traceback__)
            raise
        if upload.is_left:
            return
        if upload.stored is not None:
            await upload.abandon()
        elif self._closed or upload.is_taken:
            await upload.suspend()
        else:
            self._park(upload)

    async def close(self) -> None:
        """Close all uploads; they are resumed from the disk later."""
        self._closed = True
        for id in tuple(self._parked):  # noqa: A001
            self._close(id)
        for closing in tuple(self._closing):
            await closing

    def _park(self, upload: Incoming) -> None:
        id = upload.id  # noqa: A001
        upload.on_taken(lambda: self._close(id))
        call = self._clock.callLater(_SYNC_AFTER, self._sync, id)
        self._parked[id] = _Parked(upload, call, succeed(None))
        if len(self._parked) > _MOST:
            self._close(next(iter(self._parked)))

    async def _unpark(self, parked: _Parked) -> Incoming:
        """Return an upload when nothing works on it any more."""
        if parked.call.active():
            parked.call.cancel()
        await parked.synced
        return parked.upload

    def _sync(self, id: str) -> None:  # noqa: A002
        """Make durable what came last; then close the upload if still no request comes."""
        parked = self._parked[id]
        parked.synced = Deferred.fromCoroutine(_synced(parked.upload))
        parked.call = self._clock.callLater(_CLOSE_AFTER, self._close, id)

    def _close(self, id: str) -> None:  # noqa: A002
        """Leave an upload to the disk."""
        if (parked := self._parked.pop(id, None)) is not None:
            closing = Deferred.fromCoroutine(self._suspend(parked))
            self._closing.add(closing)
            closing.addCallback(lambda _: self._closing.discard(closing))

    async def _suspend(self, parked: _Parked) -> None:
        upload = await self._unpark(parked)
        with suppress(FileRefused):  # what is not durable then is sent again
            await upload.suspend()


async def _synced(upload: Incoming) -> None:
    with suppress(FileRefused):  # the next request meets it
        await upload.sync()
