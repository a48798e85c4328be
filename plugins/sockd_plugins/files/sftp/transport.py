"""SSH transport of one connection (RFC 4253): Conch's key exchange, with packets and bounds of our own.

Conch negotiates, exchanges and derives the keys. Here are the packets (`ciphers.py`), without copies of what
is still to come, and what Conch lacks:

- AES-GCM, if the client has it. A client prefers the first of its own ciphers that the server has, and
  OpenSSH's list begins with slower ones; so the server answers the client's list with the fast ones only.
- Strict key exchange (`kex-strict-s-v00@openssh.com`), which keeps an attacker from removing packets.
- A deadline for the login, which begins with the connection.
- No compression, and no algorithm that RFC 9142 advises against.
"""

from __future__ import annotations

import struct
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import (
    DISCONNECT_BY_APPLICATION,
    DISCONNECT_MAC_ERROR,
    DISCONNECT_PROTOCOL_ERROR,
    DISCONNECT_SERVICE_NOT_AVAILABLE,
    MSG_DISCONNECT,
    MSG_NEWKEYS,
    MSG_SERVICE_ACCEPT,
    SSHServerTransport,
)
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from typing_extensions import override

from sockd_plugins.files.sftp.ciphers import (
    CTR,
    GCM,
    MACS,
    Opening,
    PacketFault,
    Plain,
    Seal,
    make_opening,
    make_seal,
)
from sockd_plugins.files.sftp.quiet import QUIET
from sockd_plugins.files.stream.inbox import Inbox

LOGIN_SECONDS = 60.0
"""Seconds from the connection to the end of the login. A person types a password; OpenSSH gives 120."""

_VERSION = b"SSH-2.0-sockd"
_VERSION_LENGTH = 255  # bytes of the client's version at most (RFC 4253, 4.2)

_EXCHANGES = [
    b"mlkem768x25519-sha256",
    b"curve25519-sha256",
    b"curve25519-sha256@libssh.org",
    b"ecdh-sha2-nistp256",
    b"ecdh-sha2-nistp384",
    b"ecdh-sha2-nistp521",
]

SIGNATURES = (
    b"ssh-ed25519",
    b"sk-ssh-ed25519@openssh.com",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"sk-ecdsa-sha2-nistp256@openssh.com",
    b"rsa-sha2-512",
    b"rsa-sha2-256",
)
"""Signatures that clients may log in with. Without this list a client of OpenSSH keeps back an RSA key."""

_STRICT_SERVER = b"kex-strict-s-v00@openssh.com"
_STRICT_CLIENT = b"kex-strict-c-v00@openssh.com"

_UNSENT = 1000
"""Packets that wait for the end of a key exchange at most; the client sends no requests meanwhile."""

_DATA = 94  # SSH_MSG_CHANNEL_DATA
_FIRST_OF_EXCHANGE, _LAST_OF_EXCHANGE = 20, 49  # messages of a key exchange


class Wire(Protocol):
    """Connection below the transport."""

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is lost."""

    def loseConnection(self) -> None:
        """Close the connection when everything is sent."""


class Connected(Protocol):
    """Service that takes the data of channels without a copy."""

    def data_received(self, packet: memoryview) -> None:
        """Take a packet with data of a channel."""


@dataclass(frozen=True)
class HostKeys:
    """Host key as Conch asks a factory for it."""

    privateKeys: Mapping[bytes, Key]
    publicKeys: Mapping[bytes, Key] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "publicKeys", {kind: key.public() for kind, key in self.privateKeys.items()})

    @classmethod
    def of(cls, key: Key) -> HostKeys:
        """Return the host keys of a server that has one."""
        return cls({key.sshType(): key})


class _Keys:
    """Keys of both directions, as Conch gives them."""

    def __init__(self, sent: bytes, received: bytes, sent_mac: bytes, received_mac: bytes) -> None:
        self.outCipType, self.inCipType = sent, received
        self.outMACType, self.inMACType = sent_mac, received_mac
        self.seal: Seal = Plain()
        self.opening: Opening = Plain()

    def setKeys(
        self, out_nonce: bytes, out_key: bytes, nonce: bytes, key: bytes, out_mac: bytes, mac: bytes
    ) -> None:
        """Take the key material of both directions."""
        self.seal = make_seal(self.outCipType, self.outMACType, out_nonce, out_key, out_mac)
        self.opening = make_opening(self.inCipType, self.inMACType, nonce, key, mac)


class Transport(SSHServerTransport):
    """Transport of one client.

    Args:
        wire: the connection.
        clock: for the deadline of the login.
        host_keys: of this server.
        login: the first service, in which the client authenticates.

    Attributes:
        inbox: bytes that have arrived and are no packets yet.
        over: whether nothing can follow any more.
    """

    _log = QUIET
    ourVersionString = _VERSION
    supportedCompressions = [b"none"]  # noqa: RUF012
    supportedMACs = list(MACS)  # noqa: RUF012

    transport: Any
    factory: Any
    nextEncryptions: Any

    def __init__(self, wire: Wire, clock: IReactorTime, host_keys: HostKeys, login: SSHService) -> None:
        self.inbox = Inbox()
        self.over = False
        self.transport = wire
        self.factory = host_keys
        self.supportedPublicKeys = [
            name for key in host_keys.privateKeys.values() for name in key.supportedSignatureAlgorithms()
        ]
        available = set(SSHServerTransport.supportedKeyExchanges)
        self.supportedKeyExchanges = [*(name for name in _EXCHANGES if name in available), _STRICT_SERVER]
        self.currentEncryptions: Any = _Keys(b"none", b"none", b"none", b"none")
        self._login = login
        self._seal: Seal = Plain()
        self._opening: Opening = Plain()
        self._needed = 1  # bytes of the inbox for the next packet, as far as it is known
        self._strict = False
        self._keyed = False  # whether the first key exchange is over
        self._connected: Connected | None = None
        self._waiting: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = clock.callLater(LOGIN_SECONDS, self._too_late)
        wire.write(_VERSION + b"\r\n")

    async def advance(self) -> None:
        """Take all whole packets of the inbox, and wait for what a service does with one before the next."""
        if not self.gotVersion and not self._read_version():
            return
        if len(self.inbox) < self._needed:
            return
        pieces = self.inbox.take(len(self.inbox))
        data, at = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces)), 0
        del pieces
        while not self.over:
            try:
                packet, end = self._opening.open(data, at, self.incomingPacketSequence)
            except PacketFault as fault:
                self.disconnect(DISCONNECT_MAC_ERROR, str(fault))
                break
            if packet is None:
                self._needed = end
                break
            at = end
            self.incomingPacketSequence = (self.incomingPacketSequence + 1) & 0xFFFFFFFF
            if packet[0] == _DATA and self._connected is not None:
                self._connected.data_received(packet)
                continue
            self._take(packet)
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                await waiting
        if at < len(data):
            self.inbox.append(data[at:])

    def wait_for(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Let no packet be taken until some work is done."""
        self._waiting = Deferred.fromCoroutine(work)

    def go_on(self, service: SSHService, connected: Connected) -> None:
        """Change from the login to the service that the client has asked for."""
        self._cancel_deadline()
        self._connected = connected
        self.setService(service)

    def disconnect(self, reason: int, text: str) -> None:
        """Tell the client why, and close the connection."""
        if not self.over:
            self.over = True
            self.sendPacket(MSG_DISCONNECT, struct.pack(">L", reason) + NS(text.encode()) + NS(b""))
            self.transport.loseConnection()

    def end(self) -> None:
        """End the timer: the connection is over."""
        self.over = True
        self._cancel_deadline()

    @override
    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        self.disconnect(reason, desc if isinstance(desc, str) else desc.decode(errors="replace"))

    @override
    def sendPacket(self, messageType: int, payload: bytes) -> None:
        exchanges = self._keyExchangeState != self._KEY_EXCHANGE_NONE
        if exchanges and not self._allowedKeyExchangeMessageType(messageType):
            unsent = self._blockedByKeyExchange
            unsent.append((messageType, payload))
            if len(unsent) > _UNSENT:
                self.disconnect(DISCONNECT_PROTOCOL_ERROR, "the key exchange is not finished")
            return
        self.transport.write(self._seal.seal(self.outgoingPacketSequence, bytes((messageType,)) + payload))
        self.outgoingPacketSequence = (self.outgoingPacketSequence + 1) & 0xFFFFFFFF
        if messageType == MSG_NEWKEYS:
            self._seal = self.nextEncryptions.seal
            if self._strict:
                self.outgoingPacketSequence = 0

    @override
    def ssh_KEXINIT(self, packet: bytes) -> None:
        lists = [names.split(b",") for names in getNS(packet[16:], 10)[:10]]
        fast = all(any(name in GCM for name in lists[direction]) for direction in (2, 3))
        self.supportedCiphers = list(GCM if fast else CTR)
        if self.sessionID is None and _STRICT_CLIENT in lists[0]:
            self._strict = True
            if self.incomingPacketSequence != 1:
                raise PacketFault("expected the key exchange first, found something else")
        super().ssh_KEXINIT(packet)
        if not self.over:
            found = self.nextEncryptions
            self.nextEncryptions = _Keys(found.outCipType, found.inCipType, found.outMACType, found.inMACType)

    @override
    def sendExtInfo(self, extensions: Sequence[tuple[bytes, bytes]]) -> None:
        super().sendExtInfo([(b"server-sig-algs", b",".join(SIGNATURES))])

    @override
    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        name = getNS(packet)[0]
        if (
            name != self._login.name
            or not self.isEncrypted("both")
            or self.service not in (None, self._login)
        ):
            self.disconnect(DISCONNECT_SERVICE_NOT_AVAILABLE, "expected a request for ssh-userauth")
            return
        self.sendPacket(MSG_SERVICE_ACCEPT, NS(name))
        if self.service is None:
            self.setService(self._login)

    @override
    def ssh_DISCONNECT(self, packet: bytes) -> None:
        self.over = True
        self.transport.loseConnection()

    @override
    def ssh_UNIMPLEMENTED(self, packet: bytes) -> None:
        pass

    @override
    def ssh_DEBUG(self, packet: bytes) -> None:
        pass

    @override
    def _newKeys(self) -> None:
        self._opening = self.nextEncryptions.opening
        if self._strict:
            self.incomingPacketSequence = 0
        self._keyed = True
        super()._newKeys()

    def _read_version(self) -> bool:
        """Read the client's version line; return False if it is not there or is none."""
        head = self.inbox.head(_VERSION_LENGTH)
        end = head.find(b"\n")
        if end < 0 and len(head) < _VERSION_LENGTH:
            return False
        line = head[:end].removesuffix(b"\r")
        if end < 0 or not line.startswith((b"SSH-2.0-", b"SSH-1.99-")):
            self.transport.write(b"expected a client of SSH: sftp or scp\r\n")
            self.over = True
            self.transport.loseConnection()
            return False
        self.inbox.take(end + 1)
        self.gotVersion = True
        self.otherVersionString = line
        return True

    def _take(self, packet: memoryview) -> None:
        number = packet[0]
        if self._strict and not self._keyed and not _in_exchange(number):
            self.disconnect(DISCONNECT_PROTOCOL_ERROR, "expected a message of the key exchange")
            return
        try:
            self.dispatchMessage(number, bytes(packet[1:]))
        except PacketFault as fault:
            self.disconnect(DISCONNECT_PROTOCOL_ERROR, str(fault))
        except Exception:  # whatever Conch makes of malformed packets
            self.disconnect(DISCONNECT_PROTOCOL_ERROR, "a packet is malformed")

    def _too_late(self) -> None:
        self._deadline = None
        self.disconnect(DISCONNECT_BY_APPLICATION, f"expected a login within {LOGIN_SECONDS:.0f} seconds")

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()


def _in_exchange(number: int) -> bool:
    return _FIRST_OF_EXCHANGE <= number <= _LAST_OF_EXCHANGE or number == MSG_DISCONNECT
