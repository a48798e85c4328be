"""Receives files: each appears in a folder when it is whole, verified and durable, and never before.

Two protocols for streams, TCP or UNIX, are described in their modules:

- `upload` (the default, `put.py`): names, sizes, digests, file after file; `sockd send` speaks it.
- `raw` (`raw.py`): a connection is a file; for `nc` and `socat`.

An existing file is never replaced; if a name is taken the new file gets a number. At most about 2 MiB of a
connection are in memory, whatever the size of its file, and `memory` of all connections together.

Room on the disk is taken as data arrives, a few megabytes ahead of it. An upload that would leave less than
`reserve` bytes or `reserve_files` files to other programs is refused, an announced size before its first
byte.

The permissions of the files come from the umask, from the folder's group if it has the set-group-ID bit, and
from its default ACL; or from `mode`, such as "640", whatever the umask is. Until a file is whole no other
user can open it. Anything in `.sockd-part` that is not a plain file is left alone.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, ClassVar, cast

from pydantic import BeforeValidator, Field, PrivateAttr
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory
from typing_extensions import override
from zope.interface import implementer

from sockd.errors import ValueFault
from sockd.plugin import ConfigPath, Context, IStreamPlugin, Plugin, Size
from sockd.reading import obstacle_to_folder
from sockd_plugins.files.buffers import Buffers
from sockd_plugins.files.disk import Disk
from sockd_plugins.files.peer import Peer
from sockd_plugins.files.put import receive_puts
from sockd_plugins.files.raw import receive_raw
from sockd_plugins.files.store import PARTS, Store

_STOP_SECONDS = 3.0  # for pending work of the disk; a disk that takes longer may hang for ever

_TALKS = {"upload": receive_puts, "raw": receive_raw}

_SHOWN = 5  # names of files in the way


def _file_mode(mode: object) -> object:
    """Check permissions, in octal as chmod(1) takes them; a plain number could be meant in decimal."""
    if mode is None:
        return None
    if not isinstance(mode, str) or not re.fullmatch("0?[0-7]{3}", mode, re.ASCII):
        raise ValueFault("three octal digits as text, such as '640'", repr(mode))
    if not int(mode, 8) & stat.S_IRUSR:
        raise ValueFault("permissions with which the owner can read the file, such as '640'", repr(mode))
    return mode


@implementer(IStreamPlugin)
class Files(Plugin):
    """Receive files into a folder. A file appears there whole, verified and durable, or not at all."""

    protocols: ClassVar[tuple[str, ...]] = tuple(_TALKS)

    directory: ConfigPath = Field(description="The folder for the files; made if it is missing.")
    max_size: Size = Field(
        default="16GiB", validate_default=True, ge=1, description="The largest file that is accepted."
    )
    reserve: Size = Field(
        default="64MiB", validate_default=True, description="Bytes that must stay free on the disk."
    )
    reserve_files: int = Field(
        default=1000,
        ge=0,
        description="Files (inodes) that other programs must still be able to make there.",
    )
    memory: Size = Field(
        default="64MiB",
        validate_default=True,
        ge=1 << 20,
        description="Memory of all uploads together, in each worker.",
    )
    min_rate: Size = Field(
        default=500,
        description="Bytes a second; an upload that falls five minutes behind is aborted. 0: never.",
    )
    mode: Annotated[str | None, BeforeValidator(_file_mode)] = Field(
        default=None,
        description="Permissions of the files, such as '640'; by default the umask and the folder decide.",
    )

    _disk: Disk = PrivateAttr()  # set by `start`
    _clock: IReactorTime = PrivateAttr()
    _buffers: Buffers = PrivateAttr()

    @override
    def problems(self) -> Iterable[tuple[str, str]]:
        reason = obstacle_to_folder(self.directory)
        return () if reason is None else (("directory", f"no files can be received: {reason}"),)

    @override
    async def start(self, context: Context) -> None:
        disk = Disk(context.clock)
        await disk.open(self._open_store)
        self._clock, self._disk, self._buffers = context.clock, disk, Buffers(self.memory)
        if left_alone := disk.store.left_alone:
            context.logger.warn(
                "not touched among the unfinished files",
                folder=str(self.directory / PARTS),
                names=", ".join(left_alone[:_SHOWN]),
                count=len(left_alone),
            )

    def _open_store(self) -> Store:
        mode = None if self.mode is None else int(self.mode, 8)
        return Store.open(
            self.directory, self.max_size, self.reserve, reserve_files=self.reserve_files, mode=mode
        )

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:
        """Build a protocol that speaks `protocol` for each connection."""
        talk = _TALKS[protocol]
        return _Peers(lambda: Peer(partial(talk, disk=self._disk), context, self._buffers, self.min_rate))

    @property
    def _peers(self) -> tuple[Peer, ...]:
        started = hasattr(self, "_buffers")
        return tuple(cast("set[Peer]", self._buffers.holders)) if started else ()

    @override
    def drain(self) -> None:
        for peer in self._peers:
            peer.drain()

    @override
    async def stop(self) -> None:
        if not hasattr(self, "_disk"):  # it could not start
            return
        await Deferred.fromCoroutine(self._silence()).addTimeout(_STOP_SECONDS, self._clock)
        self._disk.stop()

    async def _silence(self) -> None:
        for peer in self._peers:
            await peer.ended


class _Peers(Factory):
    noisy = False

    def __init__(self, build: Callable[[], Peer]) -> None:
        self._build = build

    @override
    def buildProtocol(self, addr: IAddress | None) -> Peer:
        return self._build()
