# mypy: disable-error-code="no-untyped-call"
# The classes of Twisted that this derives from have no annotations.
"""Client and server of SSH, joined in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.plugin import Context
from sockd_plugins.files.sftp.exchange import HostKeys
from sockd_plugins.files.sftp.fields import number
from sockd_plugins.files.sftp.host_key import made_host_key
from sockd_plugins.files.sftp.quiet import QUIET
from sockd_plugins.files.sftp.serve import SshServer, receive_sftp
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.stream.buffers import Buffers
from sockd_plugins.files.stream.peer import Peer
from tests.plugins.files.sftp.client import Service

KEY = Key(Ed25519PrivateKey.from_private_bytes(b"\7" * 32))
OTHER_KEY = Key(Ed25519PrivateKey.from_private_bytes(b"\10" * 32))
TOKEN = "abcdefghijkmnpqrstuvwxyz"

FAILURE, SUCCESS, KEY_FITS = 51, 52, 60


class Access:
    """Users and tokens of a test."""

    open = False
    keys = (KEY.blob(),)

    async def sender(
        self,
        host: str,
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        key: bytes | None = None,
    ) -> Sender:
        if token == TOKEN:
            return Sender(host, "token:1")
        if self.open and user != "ann":
            return Sender(host)
        if user == "ann" and (password == "secret" or key in self.keys):
            return Sender(host, "user:ann", "ann")
        raise FileRefused("denied", "no")


class Client(SSHClientTransport):
    """Client of Conch in memory, without services: packets in and out."""

    _log = QUIET

    def __init__(self) -> None:
        self.packets: list[tuple[int, bytes]] = []
        self.secure = False

    def verifyHostKey(self, pubKey: bytes, fingerprint: str) -> Deferred[int]:  # noqa: N803
        return succeed(1)

    def connectionSecure(self) -> None:
        self.secure = True

    @override
    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        if messageNum >= 50 or messageNum in (1, 3, 6):
            self.packets.append((messageNum, payload))
        else:
            super().dispatchMessage(messageNum, payload)


class Wire(StringTransport):
    """Server's side of a connection."""

    @override
    def abortConnection(self) -> None:
        self.loseConnection()


class Conversation:
    """Client and server, joined in memory."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.clock = service.clock
        self.told: list[dict[str, Any]] = []
        logger = Logger(observer=self.told.append)  # type: ignore[arg-type]  # as an observer may be
        context = Context("files", self.clock, logger, folder / "state")
        host_keys = HostKeys.of(made_host_key(folder / "state"))
        self.access = Access()
        server = SshServer(service.engine, self.access, host_keys, context)
        self.peer = Peer(lambda peer: receive_sftp(peer, server), context, Buffers(1 << 20), 0)
        self.wire = Wire()
        self.client = Client()
        self.client_wire = StringTransport()

    def connect(self) -> None:
        """Connect and exchange keys."""
        self.peer.makeConnection(cast("Any", self.wire))
        self.client.makeConnection(cast("Any", self.client_wire))
        self.pump()

    def pump(self, seconds: float = 0.0) -> None:
        """Carry bytes to and fro, until there are none."""
        self.clock.advance(seconds)
        while self.client_wire.value() or self.wire.value():
            data, answer = self.client_wire.value(), self.wire.value()
            self.client_wire.clear()
            self.wire.clear()
            if data and not self.wire.disconnecting:
                self.peer.dataReceived(data)
                self.clock.advance(0.0)
            if answer:
                cast("IProtocol", self.client).dataReceived(answer)

    def say(self, kind: int, payload: bytes, seconds: float = 0.0) -> list[tuple[int, bytes]]:
        """Send a packet and return the answers."""
        self.client.packets.clear()
        self.client.sendPacket(kind, payload)
        self.pump(seconds)
        if seconds:
            self.pump(seconds)
        return self.client.packets

    def log_in(self, user: str = "ann", password: str = "secret") -> list[tuple[int, bytes]]:
        self.say(5, NS(b"ssh-userauth"))
        return self.try_password(user, password)

    def try_password(self, user: str, password: str) -> list[tuple[int, bytes]]:
        request = NS(user) + NS(b"ssh-connection") + NS(b"password") + b"\0" + NS(password)
        return self.say(50, request, 1.0)

    def open_session(self) -> None:
        """Log in and open a session of SFTP, whose channel has the number 0 at both ends."""
        assert self.log_in()[0][0] == SUCCESS
        opened = self.say(90, NS(b"session") + number(0) + number(1 << 20) + number(32768))
        assert opened[0][0] == 91
        assert self.say(98, number(0) + NS(b"subsystem") + b"\1" + NS(b"sftp")) == [(99, number(0))]

    def send(self, data: bytes) -> bytes:
        """Send data through the channel and return the data that comes back."""
        answers = self.say(94, number(0) + NS(data))
        return b"".join(getNS(payload[4:])[0] for kind, payload in answers if kind == 94)

    def lose(self) -> None:
        cast("IProtocol", self.peer).connectionLost(Failure(ConnectionError()))


def reason(answers: list[tuple[int, bytes]]) -> bytes:
    """Return the reason with which the server has disconnected."""
    (payload,) = [payload for kind, payload in answers if kind == 1]
    return getNS(payload[4:])[0]
