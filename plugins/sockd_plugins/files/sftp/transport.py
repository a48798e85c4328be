"""SSH transport of one connection (RFC 4253): Conch's key exchange, with packets and bounds of our own.

Conch negotiates, exchanges and derives the keys. Here are the packets (`ciphers.py`), without copies of what
is still to come, and what Conch lacks:

- AES-GCM, if the client has it. A client prefers the first of its own ciphers that the server has, and
  OpenSSH's list begins with slower ones; so the server answers the client's list with the fast ones only.
- Strict key exchange (`kex-strict-s-v00@openssh.com`), which keeps an attacker from removing packets.
- The order of the messages of a key exchange (RFC 4253, 7).
- New keys after a gigabyte or an hour (RFC 4253, 9).
- A deadline for the login, which begins with the connection.
- No compression, and no algorithm that RFC 9142 advises against.
"""

from __future__ import annotations

import struct
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import (
    DISCONNECT_BY_APPLICATION,
    DISCONNECT_MAC_ERROR,
    DISCONNECT_PROTOCOL_ERROR,
    DISCONNECT_SERVICE_NOT_AVAILABLE,
    MSG_DISCONNECT,
    MSG_NEWKEYS,
    MSG_SERVICE_ACCEPT,
    MSG_UNIMPLEMENTED,
    SSHServerTransport,
)
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from typing_extensions import override

from sockd_plugins.files.sftp.ciphers import CTR, GCM, MACS, Opening, PacketFault, Plain, Seal
from sockd_plugins.files.sftp.exchange import EXCHANGES, SIGNATURES, HostKeys, Keys, Order, is_in_exchange
from sockd_plugins.files.sftp.quiet import QUIET
from sockd_plugins.files.stream.inbox import Inbox

LOGIN_SECONDS = 60.0
"""Seconds from the connection to the end of the login. A person types a password; OpenSSH gives 120."""

_VERSION = b"SSH-2.0-sockd"
_VERSION_LENGTH = 255  # bytes of the client's version at most (RFC 4253, 4.2)

_STRICT_SERVER = b"kex-strict-s-v00@openssh.com"
_STRICT_CLIENT = b"kex-strict-c-v00@openssh.com"

KEYED_BYTES = 1 << 30
"""Bytes in both directions after which the keys are changed."""

KEYED_SECONDS = 3600.0
"""Seconds after which the keys are changed, if there is something to send."""

PROPOSE_SECONDS = 0.3
"""Seconds from a client's version until the server proposes algorithms; some clients wait for that."""

_LARGEST_BEFORE_LOGIN = 35_000
"""Bytes of a packet before the login at most: what every implementation takes (RFC 4253, 6.1)."""

_UNSENT = 1 << 20
"""Bytes that wait for the end of a key exchange at most; the client sends no requests meanwhile."""

_DATA = 94  # SSH_MSG_CHANNEL_DATA


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
    supportedCiphers = [*GCM, *CTR]  # noqa: RUF012

    transport: Any
    factory: Any
    nextEncryptions: Any

    def __init__(self, wire: Wire, clock: IReactorTime, host_keys: HostKeys, login: SSHService) -> None:
        self.inbox = Inbox()
        self.over = False
        self.transport = wire
        self.factory = host_keys
        self.supportedPublicKeys = [
            name
            for key in host_keys.privateKeys.values()
            for name in key.supportedSignatureAlgorithms()
            if name in SIGNATURES
        ]
        available = set(SSHServerTransport.supportedKeyExchanges)
        self.supportedKeyExchanges = [*(name for name in EXCHANGES if name in available), _STRICT_SERVER]
        self.currentEncryptions: Any = Keys(b"none", b"none", b"none", b"none")
        self._login = login
        self._seal: Seal = Plain()
        self._opening: Opening = Plain()
        self._needed = 1  # bytes of the inbox for the next packet, as far as it is known
        self._strict = False
        self._keyed = False  # whether the first key exchange is over
        self._keyed_bytes = 0  # bytes since then, or since the last one
        self._keyed_at = clock.seconds()
        self._order = Order()
        self._unsent = 0  # bytes that wait for the end of a key exchange
        self._connected: Connected | None = None
        self._waiting: Deferred[None] | None = None
        self._clock = clock
        self._proposal: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = clock.callLater(LOGIN_SECONDS, self._too_late)
        wire.write(_VERSION + b"\r\n")

    async def advance(self) -> None:
        """Take all whole packets of the inbox, and wait for what a service does with one before the next."""
        if not self.gotVersion and not self._read_version():
            return
        while len(self.inbox) >= self._needed and not self.over:
            await self._open(memoryview(self.inbox.chunk(self._needed)))
        if self._is_due() and not self.over:
            self.sendKexInit()

    async def _open(self, data: memoryview) -> None:
        """Take the packets of a piece; leave the rest of it in the inbox."""
        at = 0
        while not self.over:
            try:
                packet, end = self._opening.open(data, at, self.incomingPacketSequence)
            except PacketFault as fault:
                self.disconnect(DISCONNECT_MAC_ERROR, str(fault))
                break
            if self._connected is None and (end if packet is None else end - at) > _LARGEST_BEFORE_LOGIN:
                self.disconnect(DISCONNECT_PROTOCOL_ERROR, "expected smaller packets before the login")
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
        self._keyed_bytes += at
        self.inbox.prepend(bytes(data[at:]))  # a copy: a view would keep the whole piece in memory

    def _is_due(self) -> bool:
        """Tell whether the keys have to be changed."""
        old = self._keyed_bytes >= KEYED_BYTES or self._clock.seconds() - self._keyed_at >= KEYED_SECONDS
        return old and self._connected is not None and self._keyExchangeState == self._KEY_EXCHANGE_NONE

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
        """End the timers: the connection is over."""
        self.over = True
        self._cancel_deadline()
        self._cancel_proposal()

    @override
    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        self.disconnect(reason, desc if isinstance(desc, str) else desc.decode(errors="replace"))

    @override
    def sendPacket(self, messageType: int, payload: bytes) -> None:
        exchanges = self._keyExchangeState != self._KEY_EXCHANGE_NONE
        if exchanges and not self._allowedKeyExchangeMessageType(messageType):
            self._blockedByKeyExchange.append((messageType, payload))
            self._unsent += len(payload) + 1
            if self._unsent > _UNSENT:
                self.disconnect(DISCONNECT_PROTOCOL_ERROR, "the key exchange is not finished")
            return
        packet = self._seal.seal(self.outgoingPacketSequence, bytes((messageType,)) + payload)
        self._keyed_bytes += len(packet)
        self.transport.write(packet)
        self.outgoingPacketSequence = (self.outgoingPacketSequence + 1) & 0xFFFFFFFF
        if messageType == MSG_NEWKEYS:
            self._seal = self.nextEncryptions.seal
            if self._strict:
                self.outgoingPacketSequence = 0

    @override
    def sendUnimplemented(self) -> None:
        # The number is that of the packet that was taken last, and Conch's the next one.
        self.sendPacket(MSG_UNIMPLEMENTED, struct.pack(">L", (self.incomingPacketSequence - 1) & 0xFFFFFFFF))

    @override
    def ssh_KEXINIT(self, packet: bytes) -> None:
        self._cancel_proposal()
        lists = [names.split(b",") for names in getNS(packet[16:], 10)[:10]]
        if self.sessionID is None and self._keyExchangeState == self._KEY_EXCHANGE_NONE:
            fast = all(any(name in GCM for name in lists[direction]) for direction in (2, 3))
            self.supportedCiphers = list(GCM if fast else CTR)
        if self.sessionID is None and _STRICT_CLIENT in lists[0]:
            self._strict = True
            if self.incomingPacketSequence != 1:
                raise PacketFault("expected the key exchange first, found something else")
        if self.sessionID is not None and self._connected is None:
            raise PacketFault("expected a login before new keys")
        super().ssh_KEXINIT(packet)
        self._order.is_guessed, self.ignoreNextPacket = bool(self.ignoreNextPacket), False
        if not self.over:
            found = self.nextEncryptions
            self.nextEncryptions = Keys(found.outCipType, found.inCipType, found.outMACType, found.inMACType)

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
    def ssh_EXT_INFO(self, packet: bytes) -> None:
        pass  # nothing in it is of use here, and Conch copies the rest of it for each extension

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
        self._keyed_bytes, self._keyed_at = 0, self._clock.seconds()
        self._unsent = 0
        self.otherKexInitPayload = b""  # needed for one exchange only, and as long as the client has made it
        super()._newKeys()
        if self._connected is not None:  # an exchange takes long: others get their turn
            self.wait_for(self._pause())

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
        self._proposal = self._clock.callLater(PROPOSE_SECONDS, self._propose)
        return True

    def _take(self, packet: memoryview) -> None:
        number = packet[0]
        if self._strict and not self._keyed and not is_in_exchange(number):
            self.disconnect(DISCONNECT_PROTOCOL_ERROR, "expected a message of the key exchange")
            return
        try:
            if not self._order.take(number):
                return
            self.dispatchMessage(number, bytes(packet[1:]))
        except PacketFault as fault:
            self.disconnect(DISCONNECT_PROTOCOL_ERROR, str(fault))
        except Exception:  # whatever Conch makes of malformed packets
            self.disconnect(DISCONNECT_PROTOCOL_ERROR, "a packet is malformed")

    async def _pause(self) -> None:
        pause: Deferred[None] = Deferred()
        self._clock.callLater(0, pause.callback, None)
        await pause

    def _propose(self) -> None:
        self._proposal = None
        self.sendKexInit()

    def _cancel_proposal(self) -> None:
        proposal, self._proposal = self._proposal, None
        if proposal is not None:
            proposal.cancel()

    def _too_late(self) -> None:
        self._deadline = None
        self.disconnect(DISCONNECT_BY_APPLICATION, f"expected a login within {LOGIN_SECONDS:.0f} seconds")

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()
