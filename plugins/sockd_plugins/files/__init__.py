"""Receives files: each appears in a folder when it is whole, verified and durable, and never before.

The protocols are described in their modules:

- `upload` (the default, `stream/put.py`): names, sizes, digests, file after file; `sockd send` speaks it.
- `raw` (`stream/raw.py`): a connection is a file; for `nc` and `socat`. Nobody can tell whether such a file
  is whole: with `unverified` it goes to a folder of its own, unless its digest follows.
- `http` (`http/`): PUT and POST, forms, tus and the resumable uploads of the IETF.
- `sftp` (`sftp/`): SFTP over SSH, for `scp`, `sftp`, `curl`, `lftp`, `rclone` and others.
- `tftp` (`tftp/receiver.py`), over UDP: write requests of TFTP, from devices and `curl`.

An existing file is never replaced: if a name is taken the new file gets a number, unless it has the same
bytes, as when a sender has lost the answer. With `folders`, names may be relative paths. A slow connection
has at most 64 KiB in memory, a fast one 8 MiB while the disk keeps up, and all of them together `memory`.

Data is made durable every 8 MiB. An upload begun with `keep` can be resumed after a break, a crash or a power
cut, for `keep_parts`.

Room on the disk is taken as data arrives, a few megabytes ahead of it. An upload that would leave less than
`reserve` bytes or `reserve_files` files to other programs is refused, an announced size before its first
byte. So is one that would exceed `quota` or `quota_files` of the directory, `user_quota` or `user_files` of a
user's folder, or `source_quota` or `source_files` of its sender; all workers count together. The answer has
the numbers.

The permissions of the files come from the umask, from the folder's group if it has the set-group-ID bit, and
from its default ACL; or from `mode`, such as "640", whatever the umask is. Until a file is whole no other
user can open it. `owner` gives the files to a user or a group. Anything in `.sockd-part` that is not a plain
file is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from pydantic import PrivateAttr
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import Command, Configured, Context, IDatagramPlugin, IStreamPlugin, Replies, Transport
from sockd_plugins.files.access.access import Access
from sockd_plugins.files.access.tokens import Tokens
from sockd_plugins.files.access.users import read_users
from sockd_plugins.files.checks import unusable
from sockd_plugins.files.commands import Commands
from sockd_plugins.files.http.file_digests import FileDigests
from sockd_plugins.files.http.serve import serve_http
from sockd_plugins.files.http.site import Options, Site
from sockd_plugins.files.http.table import ROUTES
from sockd_plugins.files.notices.recipients import list_recipients, open_delivery
from sockd_plugins.files.options import FilesOptions
from sockd_plugins.files.receipt.folder import ReceiptFolder
from sockd_plugins.files.receipt.receipts import Receipts
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.owner import Owner
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.stream.buffers import Buffers
from sockd_plugins.files.stream.peer import Peer, Talk
from sockd_plugins.files.stream.peers import Peers
from sockd_plugins.files.stream.put import receive_puts
from sockd_plugins.files.stream.raw import receive_raw
from sockd_plugins.files.tftp.places import Places
from sockd_plugins.files.tftp.receiver import REPLIES, Desk, Receiver
from sockd_plugins.files.thread_log import tell_lost_receipt, tell_moved

_STOP_SECONDS = 3.0  # for pending work of the disk; a disk that takes longer may hang for ever

_STREAMS = ("upload", "raw", "http", "sftp")

_SHOWN = 5  # names of files in the way


@implementer(IStreamPlugin, IDatagramPlugin)
class Files(FilesOptions):
    """Receive files into a folder. A file appears there whole, verified and durable, or not at all."""

    protocols: ClassVar[Mapping[str, tuple[Transport, ...]]] = {
        **dict.fromkeys(_STREAMS, ("stream",)),
        "tftp": ("datagram",),
    }
    replies: ClassVar[Replies] = REPLIES

    _spoken: set[str] = PrivateAttr(default_factory=set)  # the protocols of the listeners
    _host_key: Any = PrivateAttr()
    _engine: Engine = PrivateAttr()  # set by `start`
    _access: Access = PrivateAttr()
    _tokens: Tokens = PrivateAttr()
    _receipts: Receipts = PrivateAttr()
    _digests: FileDigests = PrivateAttr()
    _clock: IReactorTime = PrivateAttr()
    _buffers: Buffers = PrivateAttr()
    _desk: Desk = PrivateAttr()

    @override
    def refuses(self, protocol: str, *, stream: bool) -> str | None:
        return unusable(protocol, self.access, self.names)

    @override
    def commands(self, configured: Configured) -> Mapping[str, Command]:
        known = read_users(self.users)
        given = (configured, self.directory, self.keep_parts, self.url, self.access, known, self.shares)
        return Commands(*given).all()

    @override
    async def start(self, context: Context) -> None:
        engine = Engine(context.clock)
        await engine.open(self._open_store)
        self._tokens = Tokens(context.state_dir)
        self._receipts = Receipts(context.service, context.state_dir)
        self._digests = FileDigests(engine)
        if self.receipts:
            failed = partial(tell_lost_receipt, context)
            engine.store.witness = ReceiptFolder(self.receipts, self._receipts, engine.store, failed)
        users = read_users(self.users)
        self._access = Access(self.access, users, self._tokens, engine.run, context.clock, self.shares)
        if recipients := list_recipients(self, context.service):
            engine.store.notices = await engine.run(open_delivery, recipients, self.directory, context)
        self._clock, self._engine, self._buffers = context.clock, engine, Buffers(self.memory)
        places = Places(self.tftp_transfers, self.tftp_source_transfers)
        self._desk = Desk(engine, self._access, self._buffers, context, places, self.min_rate)
        if "sftp" in self._spoken:
            await self._load_host_key(context)
        engine.store.moved = partial(tell_moved, context, self.directory)
        if left_alone := engine.store.left_alone:
            context.logger.warn(
                "not touched among the unfinished files",
                folder=str(self.directory / PARTS),
                names=", ".join(left_alone[:_SHOWN]),
                count=len(left_alone),
            )

    async def _load_host_key(self, context: Context) -> None:
        from sockd_plugins.files.sftp import host_key  # as above

        load = partial(host_key.made_host_key, context.state_dir)
        if self.host_key is not None:
            load = partial(host_key.load_host_key, self.host_key)
        try:
            self._host_key = key = await self._engine.run(load)
        except BaseException:  # whatever it was, no threads of the engine stay
            self._engine.stop()
            raise
        context.logger.info("host key", fingerprint=host_key.fingerprint(key))

    def _open_store(self) -> Store:
        limits = Limits(
            max_size=self.max_size,
            reserve=self.reserve,
            reserve_files=self.reserve_files,
            mode=None if self.mode is None else int(self.mode, 8),
            owner=Owner.find(self.owner),
            names=self.names,
            own=self.receipts,
            unverified=self.unverified,
            folders=self.folders,
            keep_for=self.keep_parts,
            quota=Quota(self.quota, self.quota_files, self.source_quota, self.source_files),
        )
        return Store.open(self.directory, limits)

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:
        """Build a protocol that speaks `protocol` for each connection."""
        # The factory is asked for before the start, and for each connection after it.
        self._spoken.add(protocol)
        return Peers(lambda: Peer(self._talk(protocol, context), context, self._buffers, self.min_rate))

    def _talk(self, protocol: str, context: Context) -> Talk:
        if protocol == "http":
            options = Options(self.origins, self.serve)
            site = Site(self._engine, self._access, self._receipts, self._digests, options, context)
            return partial(serve_http, routes=ROUTES, site=site)
        if protocol == "sftp":
            from sockd_plugins.files.sftp.exchange import HostKeys
            from sockd_plugins.files.sftp.serve import SshServer, receive_sftp  # as above

            keys = HostKeys.of(self._host_key)
            server = SshServer(self._engine, self._access, keys, context, serve=self.serve)
            return partial(receive_sftp, server=server)
        if protocol == "raw":
            return partial(receive_raw, engine=self._engine, access=self._access)
        return partial(receive_puts, engine=self._engine, access=self._access, receipts=self._receipts)

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Build the one protocol over datagrams."""
        return Receiver(lambda: self._desk)

    @property
    def _peers(self) -> tuple[Peer, ...]:
        started = hasattr(self, "_buffers")
        return tuple(peer for peer in self._buffers.holders if isinstance(peer, Peer)) if started else ()

    @override
    def drain(self) -> None:
        for peer in self._peers:
            peer.drain()

    @override
    async def stop(self) -> None:
        if not hasattr(self, "_engine"):  # it could not start
            return
        await Deferred.fromCoroutine(self._silence()).addTimeout(_STOP_SECONDS, self._clock)
        if (notices := self._engine.store.notices) is not None:
            await self._engine.run(notices.stop)
        self._engine.stop()
        self._tokens.close()

    async def _silence(self) -> None:
        for peer in self._peers:
            await peer.ended
        await self._engine.parking.close()
        for unfinished in tuple(self._desk.unfinished):
            await unfinished
