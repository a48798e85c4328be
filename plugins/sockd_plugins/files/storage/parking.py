"""Uploads between two requests, kept open for a moment: the next one need not read the part again.

A client that sends a file in thousands of small requests would otherwise cost as many readings of the whole
part. Others can have an upload that waits; what it knows of the part counts if none of them has changed it.
It is closed after a while, and when too many are open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sockd_plugins.files.storage.incoming import Incoming
from sockd_plugins.files.storage.sender import Sender

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
        upload: at rest.
        call: closes it if none comes.
    """

    upload: Incoming
    call: IDelayedCall


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

    def has(self, id: str) -> bool:  # noqa: A002
        """Tell whether an upload waits here."""
        return id in self._parked

    @asynccontextmanager
    async def found(self, id: str, sender: Sender) -> AsyncIterator[Incoming]:  # noqa: A002
        """Go on with an upload, and end the connection that has it.

        Args:
            id: of the upload.
            sender: who goes on.

        Raises:
            FileRefused: there is none, it is another's, or the other connection does not end.
        """
        upload = await self._woken(id)
        if upload is None:
            upload = await self._find(id, sender, take_over=True)
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
            if upload.stored is None and not (upload.is_left or self._closed):
                await upload.rest()
                self._park(upload)
        except BaseException as error:  # whatever it was, the upload is over for this request
            await upload.__aexit__(type(error), error, error.__traceback__)
            raise
        if upload.stored is not None:
            await upload.abandon()
        elif not upload.is_left:
            await upload.suspend()

    async def close(self) -> None:
        """Close all uploads; they are resumed from the disk later."""
        self._closed = True
        for id in tuple(self._parked):  # noqa: A001
            self._close(id)
        for closing in tuple(self._closing):
            await closing

    def _park(self, upload: Incoming) -> None:
        if (former := self._parked.pop(upload.id, None)) is not None:  # other connections went on with it
            self._clear(former)
        call = self._clock.callLater(_CLOSE_AFTER, self._close, upload.id)
        self._parked[upload.id] = _Parked(upload, call)
        if len(self._parked) > _MOST:
            self._close(next(iter(self._parked)))

    async def _woken(self, id: str) -> Incoming | None:  # noqa: A002
        """Return an upload that has waited here; None if there is none, or others went on with it."""
        if (parked := self._parked.pop(id, None)) is None:
            return None
        if parked.call.active():
            parked.call.cancel()
        awake = False
        try:
            awake = await parked.upload.wake()
        finally:
            if not awake:
                await parked.upload.drop()
        return parked.upload if awake else None

    def _close(self, id: str) -> None:  # noqa: A002
        self._clear(self._parked.pop(id))

    def _clear(self, parked: _Parked) -> None:
        """Leave an upload to the disk."""
        if parked.call.active():
            parked.call.cancel()
        closing = Deferred.fromCoroutine(parked.upload.drop())
        self._closing.add(closing)
        closing.addCallback(lambda _: self._closing.discard(closing))
