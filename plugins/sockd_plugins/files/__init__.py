"""Receives files: each appears in a folder when it is whole, verified and durable, and never before.

Two protocols for streams, TCP or UNIX, described in the modules that speak them:

- `upload` (the default, `put.py`): names, sizes, digests, file after file; `sockd send` speaks it.
- `raw` (`raw.py`): a connection is a file; for `nc` and `socat`.

What exists is never replaced; a name that is taken gets a number. About 2 MiB of a connection are in
memory at most, whatever the size of its file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from pydantic import Field, PrivateAttr
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import ConfigPath, Context, IStreamPlugin, Plugin, Size
from sockd_plugins.files.disk import Disk
from sockd_plugins.files.peer import Peer
from sockd_plugins.files.put import receive_puts
from sockd_plugins.files.raw import receive_raw
from sockd_plugins.files.upload import Store

_STOP_SECONDS = 3.0  # for what the disk is busy with; a disk that takes longer may be stuck for ever

_TALKS = {"upload": receive_puts, "raw": receive_raw}


@implementer(IStreamPlugin)
class Files(Plugin):
    """Receive files into a folder. A file appears there whole, verified and durable, or not at all."""

    protocols: ClassVar[tuple[str, ...]] = tuple(_TALKS)

    directory: ConfigPath = Field(description="The folder for the files; it is made if it is missing.")
    max_size: Size = Field(
        default="16GiB", validate_default=True, ge=1, description="The largest file that is taken."
    )
    reserve: Size = Field(
        default="64MiB", validate_default=True, description="What must stay free on the disk."
    )

    _disk: Disk = PrivateAttr()  # from the start on
    _clock: IReactorTime = PrivateAttr()
    _peers: set[Peer] = PrivateAttr(default_factory=set)

    @override
    def start(self, context: Context) -> None:
        self._clock = context.clock
        self._disk = Disk(Store.open(self.directory, self.max_size, self.reserve), context.clock)

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:
        """Connections that speak one of the protocols."""
        talk = _TALKS[protocol]
        return _Peers(lambda: Peer(partial(talk, disk=self._disk), context, self._peers))

    @override
    def drain(self) -> None:
        for peer in tuple(self._peers):
            peer.drain()

    @override
    async def stop(self) -> None:
        if not hasattr(self, "_disk"):  # it could not start
            return
        await Deferred.fromCoroutine(self._silence()).addTimeout(_STOP_SECONDS, self._clock)
        self._disk.stop()

    async def _silence(self) -> None:
        for peer in tuple(self._peers):
            await peer.ended


class _Peers(Factory):
    noisy = False

    def __init__(self, build: Callable[[], Peer]) -> None:
        self._build = build

    @override
    def buildProtocol(self, addr: IAddress | None) -> Peer:
        return self._build()
