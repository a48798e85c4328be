"""Conversation with one SSH client, on its connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.conch.ssh.transport import DISCONNECT_BY_APPLICATION

from sockd.plugin import Context
from sockd_plugins.files.sftp.channels import Connection, Session
from sockd_plugins.files.sftp.exchange import HostKeys
from sockd_plugins.files.sftp.login import Access, Login
from sockd_plugins.files.sftp.scp import ScpSession, parse_command
from sockd_plugins.files.sftp.session import SftpSession
from sockd_plugins.files.sftp.transport import Transport
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.stream.peer import Gone, Peer

_READ = 512 << 10
"""Bytes to take at once, and so to decrypt before others get their turn."""

_IDLE_READ = 64 << 10  # bytes to take at once before a login

_FILL_SECONDS = 1.0
"""Seconds after which is written what a client has sent, though it is little: it may have stalled."""


@dataclass(frozen=True, slots=True)
class SshServer:
    """Parts that all connections share.

    Attributes:
        engine: stores the files.
        access: decides who may send.
        host_keys: of the server.
        context: of the service.
        serve: whether files of others are listed.
    """

    engine: Engine
    access: Access
    host_keys: HostKeys
    context: Context
    serve: bool = False


async def receive_sftp(peer: Peer, server: SshServer) -> None:
    """Receive files from one client."""
    await _Conversation(peer, server).run()


class _Conversation:
    def __init__(self, peer: Peer, server: SshServer) -> None:
        self._peer = peer
        self._server = server
        self._connection: Connection | None = None
        login = Login(server.access, peer.host, peer.clock, self._logged_in, self._login_refused)
        self._transport = Transport(_Wire(peer), peer.clock, server.host_keys, login)

    async def run(self) -> None:
        try:
            while await self._receive():
                await self._transport.advance()
                if self._connection is not None:
                    await self._connection.advance()
        except Gone:
            self._server.context.logger.debug("connection broken", peer=self._peer.host)
        except FileRefused as refused:  # it is too slow; nothing else is refused here
            self._refused(refused)
            self._transport.disconnect(DISCONNECT_BY_APPLICATION, str(refused))
        finally:
            self._transport.end()
            if self._connection is not None:
                await self._connection.leave()

    async def _receive(self) -> bool:
        """Take what has arrived; return False at the end."""
        transport, connection, peer = self._transport, self._connection, self._peer
        if transport.over:
            return False
        peer.hold(len(transport.inbox) + (connection.held if connection else 0))
        if connection is None or not connection.is_receiving:
            if not await peer.peek(1):
                transport.disconnect(DISCONNECT_BY_APPLICATION, "this service ends")
                return False
            pieces = await peer.some(_READ if connection else _IDLE_READ, more=True)
        else:
            can_settle = connection.room > 0
            within = _FILL_SECONDS if can_settle else None
            pieces = await peer.some(_READ, within, more=True, patient=not can_settle)
        if pieces is None:
            if connection is not None:
                await connection.settle()
            return True
        for piece in pieces:
            transport.inbox.append(piece)
        return bool(pieces)

    def _logged_in(self, sender: Sender) -> None:
        def open_session(kind: bytes, argument: bytes, write: Callable[[bytes], None]) -> Session | None:
            return self._open(sender, kind, argument, write)

        self._connection = Connection(open_session)
        self._transport.go_on(self._connection, self._connection)
        self._server.context.logger.info("logged in", peer=self._peer.host, sender=sender.key or "-")

    def _login_refused(self, refused: FileRefused) -> None:
        self._server.context.logger.info(
            "login refused", code=refused.code, reason=str(refused), peer=self._peer.host
        )

    def _open(
        self, sender: Sender, kind: bytes, argument: bytes, write: Callable[[bytes], None]
    ) -> Session | None:
        server = self._server
        if kind == b"exec" and (target := parse_command(argument)) is not None:
            return ScpSession(server.engine, sender, write, self._stored, self._refused, target)
        if (kind, argument) != (b"subsystem", b"sftp"):
            return None
        return SftpSession(
            server.engine, sender, write, self._peer.clock, self._stored, self._refused, serve=server.serve
        )

    def _stored(self, stored: Stored) -> None:
        self._server.context.logger.info(
            "file received", file=stored.path, size=stored.size, digest=stored.digest, peer=self._peer.host
        )

    def _refused(self, refused: FileRefused) -> None:
        self._server.context.logger.info(
            "file refused", code=refused.code, reason=str(refused), peer=self._peer.host
        )


class _Wire:
    """Connection as Conch writes to it."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def write(self, data: bytes) -> None:
        self._peer.write(data)

    def loseConnection(self) -> None:
        self._peer.transport.loseConnection()
