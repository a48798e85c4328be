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

import shutil
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import (
    Command,
    ConfigPath,
    Configured,
    Context,
    Duration,
    FileContent,
    IDatagramPlugin,
    IStreamPlugin,
    Plugin,
    Replies,
    Size,
    Transport,
)
from sockd.reading import obstacle_to_folder
from sockd_plugins.files.access.access import Access, Means
from sockd_plugins.files.access.shares import Shares, UserQuota
from sockd_plugins.files.access.tokens import Tokens
from sockd_plugins.files.access.users import read_users
from sockd_plugins.files.commands import Commands
from sockd_plugins.files.http.file_digests import FileDigests
from sockd_plugins.files.http.serve import serve_http
from sockd_plugins.files.http.site import Options, Site
from sockd_plugins.files.http.table import ROUTES
from sockd_plugins.files.notices.bucket import obstacle as obstacle_to_bucket
from sockd_plugins.files.notices.program import PATH
from sockd_plugins.files.notices.recipients import list_recipients, open_delivery
from sockd_plugins.files.options import (
    file_mode,
    file_names,
    file_owner,
    folder_name,
    listed_means,
    obstacle_to_owner,
    program_arguments,
    quotas_of_users,
    unknown_users,
    unusable,
    users_file,
    web_address,
    webhook_address,
)
from sockd_plugins.files.receipt.folder import ReceiptFolder, tell_lost_receipt
from sockd_plugins.files.receipt.receipts import Receipts
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.owner import Owner
from sockd_plugins.files.storage.sender import Share
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.stream.buffers import Buffers
from sockd_plugins.files.stream.peer import Peer, Talk
from sockd_plugins.files.stream.peers import Peers
from sockd_plugins.files.stream.put import receive_puts
from sockd_plugins.files.stream.raw import receive_raw
from sockd_plugins.files.tftp.places import Places
from sockd_plugins.files.tftp.receiver import REPLIES, Desk, Receiver

_STOP_SECONDS = 3.0  # for pending work of the disk; a disk that takes longer may hang for ever

_STREAMS = ("upload", "raw", "http", "sftp")

_MOST_USERS = 1 << 20  # bytes of a file of users: some thousand of them

_SHOWN = 5  # names of files in the way


@implementer(IStreamPlugin, IDatagramPlugin)
class Files(Plugin):
    """Receive files into a folder. A file appears there whole, verified and durable, or not at all."""

    protocols: ClassVar[Mapping[str, tuple[Transport, ...]]] = {
        **dict.fromkeys(_STREAMS, ("stream",)),
        "tftp": ("datagram",),
    }
    replies: ClassVar[Replies] = REPLIES

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
    mode: Annotated[str | None, BeforeValidator(file_mode)] = Field(
        default=None,
        description="Permissions of the files, such as '640'; by default the umask and the folder decide.",
    )

    owner: Annotated[str, AfterValidator(file_owner)] = Field(
        default="",
        description="Owner of the files, such as 'ann:staff', or ':staff' if the daemon is not root.",
    )
    names: Annotated[tuple[str, ...], AfterValidator(file_names)] = Field(
        default=(), description="Patterns of the names that are accepted, such as ['*.pdf']; by default any."
    )
    unverified: Annotated[str, AfterValidator(folder_name)] = Field(
        default="",
        description="Folder, in the directory, for what comes over 'raw' without its digest; '' for none.",
    )
    folders: bool = Field(
        default=False, description="Whether files may have relative names, such as 'folder/a.txt'."
    )
    quota: Size = Field(
        default=0, description="Bytes that the directory may hold, unfinished files included. 0: any."
    )
    quota_files: int = Field(default=0, ge=0, description="Files that the directory may hold. 0: any.")
    source_quota: Size = Field(
        default=0, description="Bytes of a source's unfinished files, an IPv6 source being a /64. 0: any."
    )
    source_files: int = Field(default=0, ge=0, description="A source's unfinished files. 0: any.")
    user_quota: Size = Field(
        default=0, description="Bytes that the folder of a user may hold, unfinished files included. 0: any."
    )
    user_files: int = Field(default=0, ge=0, description="Files that the folder of a user may hold. 0: any.")
    user_quotas: Annotated[dict[str, UserQuota], AfterValidator(quotas_of_users)] = Field(
        default_factory=dict,
        description="Quotas of single users in place of those: { ann = { size = '50GiB', files = 1000 } }.",
    )
    keep_parts: Duration = Field(
        default="1d",
        validate_default=True,
        description="Time for which an upload that can be resumed is kept after its last byte.",
    )
    tftp_transfers: int = Field(
        default=1000, ge=1, description="Files that may come over 'tftp' at once, in each worker."
    )
    tftp_source_transfers: int = Field(
        default=100, ge=1, description="Files of a source that may come over 'tftp' at once, in each worker."
    )

    on_received: Annotated[tuple[str, ...], AfterValidator(program_arguments)] = Field(
        default=(),
        description="Program with its arguments that is run for each received file, such as"
        " ['/usr/bin/clamscan', '{file}']; tried again until it exits with 0.",
    )
    on_received_timeout: Duration = Field(
        default="5m", validate_default=True, description="Time after which that program is ended."
    )
    webhook: Annotated[str, AfterValidator(webhook_address)] = Field(
        default="", description="URL to which a notice of each received file is posted, as JSON."
    )
    webhook_secret: str = Field(
        default="", description="Secret with which the notices to the webhook are signed."
    )

    bucket: str = Field(
        default="",
        description="Bucket of an object store that gets a copy of each received file: 's3://NAME/FOLDER'.",
    )
    bucket_options: dict[str, str] = Field(
        default_factory=dict,
        description="Options of that store, such as endpoint, region, access_key_id, secret_access_key.",
        repr=False,
    )

    serve: bool = Field(default=False, description="Whether received files are listed and sent over 'http'.")
    origins: tuple[str, ...] = Field(
        default=(),
        description="Origins of web pages on other hosts that may send files over 'http', such as"
        " 'https://example.org'; '*' for all.",
    )

    access: Annotated[tuple[Means, ...], BeforeValidator(listed_means)] = Field(
        default=("anyone",),
        min_length=1,
        description="Who may send: 'anyone', or whoever has one of 'tokens', 'users', 'certificates'.",
    )
    users: Annotated[bytes, FileContent(_MOST_USERS), AfterValidator(users_file)] = Field(
        default=b"",
        description="File with the users, a line for each password or key, as `sockd password` prints"
        " it. The files of a user go to a folder of that name.",
        repr=False,
    )
    receipts: Annotated[str, AfterValidator(folder_name)] = Field(
        default="",
        description="Folder, in the directory, for a signed receipt of each file; '' for none. Senders who"
        " ask for one get it in any case.",
    )
    url: Annotated[str, AfterValidator(web_address)] = Field(
        default="",
        description="Public address of the 'http' listener, such as 'https://drop.example.org', for the links"
        " of `sockd files invite`; by default that of the listener.",
    )

    host_key: ConfigPath | None = Field(
        default=None,
        description="The server's private key over 'sftp', as ssh-keygen makes it without a passphrase; by"
        " default one is made in the service's state folder.",
    )

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
    def problems(self) -> Iterable[tuple[str, str]]:
        if (reason := obstacle_to_folder(self.directory)) is not None:
            yield "directory", f"no files can be received: {reason}"
        if self.on_received and shutil.which(self.on_received[0], path=PATH) is None:
            yield "on_received", f"there is no program {self.on_received[0]!r}, or it may not be executed"
        if (reason := obstacle_to_owner(self.owner)) is not None:
            yield "owner", reason
        for reason in unknown_users(self.user_quotas, self.users, self.access):
            yield "user_quotas", reason
        if self.bucket and (reason := obstacle_to_bucket(self.bucket, self.bucket_options)) is not None:
            yield "bucket", reason
        if self.host_key is not None:
            from sockd_plugins.files.sftp import host_key  # only when it is needed: it imports much

            yield from (("host_key", fault) for fault in host_key.faults(self.host_key))

    @override
    def refuses(self, protocol: str, *, stream: bool) -> str | None:
        return unusable(protocol, self.access, self.names)

    @override
    def commands(self, configured: Configured) -> Mapping[str, Command]:
        known = read_users(self.users)
        given = (configured, self.directory, self.keep_parts, self.url, self.access, known, self._shares)
        return Commands(*given).all()

    @property
    def _shares(self) -> Shares:
        return Shares(Share(self.user_quota, self.user_files), self.user_quotas)

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
        self._access = Access(self.access, users, self._tokens, engine.run, context.clock, self._shares)
        if recipients := list_recipients(self, context.service):
            engine.store.notices = await engine.run(open_delivery, recipients, self.directory, context)
        self._clock, self._engine, self._buffers = context.clock, engine, Buffers(self.memory)
        places = Places(self.tftp_transfers, self.tftp_source_transfers)
        self._desk = Desk(engine, self._access, self._buffers, context, places, self.min_rate)
        if "sftp" in self._spoken:
            await self._load_host_key(context)
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
