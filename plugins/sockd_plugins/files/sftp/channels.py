"""SSH connection service (RFC 4254): channels with a session each, and nothing else.

The data of a channel goes into its inbox without a copy. A client may send a window before it is answered;
it sends no faster than the disk takes it, because the connection is not read meanwhile.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import DISCONNECT_PROTOCOL_ERROR
from typing_extensions import override

from sockd_plugins.files.sftp.fields import Fields, Malformed, number, string
from sockd_plugins.files.sftp.quiet import QUIET
from sockd_plugins.files.sftp.transport import Transport
from sockd_plugins.files.stream.inbox import Inbox

WINDOW = 4 << 20
"""Bytes that a client may send ahead: the most that it has unanswered on a long way, and no memory here."""

PACKET = 128 << 10
"""Bytes of data in a packet at most. Each packet costs the same work, however large it is."""

MOST_CHANNELS = 4
"""Channels of one connection, such as those of a shared one (ControlMaster)."""

LEAST_PACKET = 256
"""Bytes that a client must take in one packet: each costs the same work, however small it is."""

_UNSENT = 1 << 20  # bytes of answers that a client leaves unread until it is disconnected

_LOGIN = 50  # SSH_MSG_USERAUTH_REQUEST

_MESSAGES = {
    80: "GLOBAL_REQUEST",
    90: "CHANNEL_OPEN",
    93: "CHANNEL_WINDOW_ADJUST",
    95: "CHANNEL_EXTENDED_DATA",
    96: "CHANNEL_EOF",
    97: "CHANNEL_CLOSE",
    98: "CHANNEL_REQUEST",
}
_REQUEST_FAILURE = 82
_OPENED, _NOT_OPENED, _ADJUST, _DATA, _EOF, _CLOSE, _REQUEST, _DONE, _REFUSED = (
    91,
    92,
    93,
    94,
    96,
    97,
    98,
    99,
    100,
)

_DATA_HEAD = struct.Struct(">BII")
"""Head of a packet with data: kind, number of the channel, length."""

_UNKNOWN_KIND, _SHORTAGE = 3, 4  # reasons for which a channel is not opened


class Session(Protocol):
    """Program at the server's end of a channel."""

    @property
    def held(self) -> int:
        """Return the bytes in memory that have left the inbox."""

    @property
    def room(self) -> int:
        """Return the bytes of memory that `settle` frees."""

    @property
    def is_receiving(self) -> bool:
        """Tell whether a file is open, so that the client is expected to send."""

    async def advance(self, inbox: Inbox, *, ended: bool) -> int | None:
        """Do what the inbox asks for, as far as it is whole.

        Args:
            inbox: data that has arrived.
            ended: whether the client sends no more.

        Returns:
            The exit status, once the session is over; None before.
        """

    async def settle(self) -> None:
        """Free the memory: write what was received."""

    async def leave(self) -> None:
        """End: the connection or the channel is lost."""


Open = Callable[[bytes, bytes, Callable[[bytes], None]], "Session | None"]
"""Open a session, by the kind of a request, its argument and what sends data; None to refuse it."""


class Channel:
    """Channel of a connection.

    Args:
        connection: it belongs to.
        local: its number here.
        remote: its number at the client.
        window: bytes that the client takes.
        packet: bytes that the client takes in one packet.
    """

    def __init__(self, connection: Connection, local: int, remote: int, window: int, packet: int) -> None:
        self.local = local
        self.inbox = Inbox()
        self.session: Session | None = None
        self.ended = False  # the client sends no more
        self.closed = False  # by the client
        self.left = WINDOW
        self._connection = connection
        self._remote = number(remote)
        self._window = window
        self._packet = packet
        self._unsent = bytearray()
        self._opened = False  # a session, of which a channel has one
        self._over = False  # everything was sent

    @property
    def held(self) -> int:
        """Bytes of this channel in memory."""
        return len(self.inbox) + (self.session.held if self.session else 0)

    def send(self, kind: int, rest: bytes = b"") -> None:
        """Send a message of the channel."""
        self._connection.transport.sendPacket(kind, self._remote + rest)

    def take(self, data: memoryview) -> None:
        """Take data that has arrived."""
        if len(data) > self.left or len(data) > PACKET or self.ended:
            raise Malformed("a client has sent more than it may")
        self.left -= len(data)
        if self.left < WINDOW // 2 and not self._over:
            self.send(_ADJUST, number(WINDOW - self.left))
            self.left = WINDOW
        if self.session is not None:
            self.inbox.append(data)

    def open(self, open_session: Open, kind: bytes, argument: bytes) -> bool:
        """Open the session, if there was none before; return whether it is open."""
        if self._opened or self.ended:
            return False
        self.session = open_session(kind, argument, self.write)
        self._opened = self.session is not None
        return self._opened

    def answer(self, *, done: bool) -> None:
        """Answer a request of the client."""
        if not self._over:
            self.send(_DONE if done else _REFUSED)

    def write(self, data: bytes) -> None:
        """Send data, as much as the client takes now, and the rest later."""
        self._unsent += data
        self._send_more()
        if len(self._unsent) > _UNSENT:
            self._connection.transport.disconnect(DISCONNECT_PROTOCOL_ERROR, "answers are not read")

    def adjust(self, size: int) -> None:
        """Send what waits, as the client takes so many bytes more."""
        self._window = min(self._window + size, 0xFFFFFFFF)
        self._send_more()

    async def advance(self) -> None:
        """Let the session work, and close the channel when it is over."""
        if self.session is not None:
            status = await self.session.advance(self.inbox, ended=self.ended)
            if status is not None:
                session, self.session = self.session, None
                await session.leave()
                self._close(status)
        if self.closed:
            await self.leave()
            self._close(None)
            self._connection.channels.pop(self.local, None)

    async def leave(self) -> None:
        """End the session, if it is not over."""
        session, self.session = self.session, None
        if session is not None:
            await session.leave()

    def _close(self, status: int | None) -> None:
        """Tell the exit status, without which scp takes everything for failed, and close."""
        if self._over:
            return
        self._over = True
        if status is not None:
            self.send(_REQUEST, string(b"exit-status") + b"\0" + number(status))
            self.send(_EOF)
        self.send(_CLOSE)

    def _send_more(self) -> None:
        while self._unsent and self._window and not self._over:
            data = bytes(self._unsent[: min(self._window, self._packet)])
            del self._unsent[: len(data)]
            self._window -= len(data)
            self.send(_DATA, string(data))


class Connection(SSHService):
    """Channels of a client.

    Args:
        open_session: opens the session of a channel.

    Attributes:
        channels: those that are open, by their numbers here.
    """

    _log = QUIET
    name = b"ssh-connection"

    transport: Transport

    def __init__(self, open_session: Open) -> None:
        self.channels: dict[int, Channel] = {}
        self._open_session = open_session
        self._next = 0

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return sum(channel.held for channel in self.channels.values())

    @property
    def room(self) -> int:
        """Bytes of memory that `settle` frees."""
        return sum(session.room for session in self._sessions)

    @property
    def is_receiving(self) -> bool:
        """True if a file is open, so that the client is expected to send."""
        return any(session.is_receiving for session in self._sessions)

    @property
    def _sessions(self) -> list[Session]:
        return [channel.session for channel in self.channels.values() if channel.session]

    async def advance(self) -> None:
        """Let the sessions work."""
        for channel in tuple(self.channels.values()):
            await channel.advance()

    async def settle(self) -> None:
        """Free the memory."""
        for session in self._sessions:
            await session.settle()

    async def leave(self) -> None:
        """End all sessions: the connection is lost."""
        for channel in tuple(self.channels.values()):
            await channel.leave()

    def data_received(self, packet: memoryview) -> None:
        """Take a packet with data of a channel."""
        try:
            if len(packet) < _DATA_HEAD.size:
                raise Malformed("a packet is malformed")
            _, local, size = _DATA_HEAD.unpack_from(packet)
            channel = self.channels.get(local)
            if channel is None or len(packet) < _DATA_HEAD.size + size:
                raise Malformed("data for a channel that is not open")
            channel.take(packet[_DATA_HEAD.size : _DATA_HEAD.size + size])
        except Malformed as fault:
            self.transport.disconnect(DISCONNECT_PROTOCOL_ERROR, str(fault))

    @override
    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        if messageNum == _LOGIN:  # of a client that did not wait for the answer (RFC 4252, 5.1)
            return
        name = _MESSAGES.get(messageNum)
        if name is None:
            self.transport.sendUnimplemented()
            return
        try:
            getattr(self, f"_take_{name.lower()}")(Fields(packet))
        except Malformed as fault:
            self.transport.disconnect(DISCONNECT_PROTOCOL_ERROR, str(fault))

    def _channel(self, message: Fields) -> Channel:
        channel = self.channels.get(message.number())
        if channel is None:
            raise Malformed("a message for a channel that is not open")
        return channel

    def _take_global_request(self, message: Fields) -> None:
        message.string()
        if message.byte():  # such as a sign of life of OpenSSH, to which any answer will do
            self.transport.sendPacket(_REQUEST_FAILURE, b"")

    def _take_channel_open(self, message: Fields) -> None:
        kind, remote = message.string(), message.number()
        window, packet = message.number(), message.number()
        if kind != b"session":
            self._refuse(remote, _UNKNOWN_KIND, "only sessions are served")
        elif packet < LEAST_PACKET:
            self._refuse(remote, _SHORTAGE, f"expected packets of at least {LEAST_PACKET} bytes")
        elif len(self.channels) >= MOST_CHANNELS:
            self._refuse(remote, _SHORTAGE, f"a connection may have {MOST_CHANNELS} sessions")
        else:
            local, self._next = self._next, self._next + 1
            channel = self.channels[local] = Channel(self, local, remote, window, packet)
            channel.send(_OPENED, number(local) + number(WINDOW) + number(PACKET))

    def _refuse(self, remote: int, reason: int, text: str) -> None:
        self.transport.sendPacket(_NOT_OPENED, number(remote) + number(reason) + string(text) + string(b""))

    def _take_channel_window_adjust(self, message: Fields) -> None:
        self._channel(message).adjust(message.number())

    def _take_channel_extended_data(self, _: Fields) -> None:
        raise Malformed("a client has sent data that only a server sends")

    def _take_channel_eof(self, message: Fields) -> None:
        self._channel(message).ended = True

    def _take_channel_close(self, message: Fields) -> None:
        channel = self._channel(message)
        channel.ended = channel.closed = True

    def _take_channel_request(self, message: Fields) -> None:
        channel, kind, answer = self._channel(message), message.string(), message.byte()
        can = kind in (b"subsystem", b"exec")
        opened = can and channel.open(self._open_session, kind, message.string())
        if answer:
            channel.answer(done=opened)
