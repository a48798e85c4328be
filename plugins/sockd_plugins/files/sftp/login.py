"""Login of an SSH client (RFC 4252): with a key, a password or a token, or without any where all may send.

A user name that is a token needs nothing more; a password may be a token, too. The number of tries is bound
for each connection, and a wrong password costs a second. Conch's own service has neither and imports the
reactor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from twisted.conch.ssh.keys import BadKeyError, Key
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from typing_extensions import override

from sockd_plugins.files.access.credentials import is_token
from sockd_plugins.files.sftp.exchange import SIGNATURES
from sockd_plugins.files.sftp.fields import Fields, Malformed, string
from sockd_plugins.files.sftp.quiet import QUIET
from sockd_plugins.files.sftp.transport import Transport
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender

MOST_TRIES = 20
"""Refused tries of one connection. A client tries each key that it has, and some people have many."""

MOST_PASSWORDS = 6
"""Wrong passwords of one connection, as in OpenSSH."""

_WRONG_SECONDS = 1.0  # for a wrong password, so that guessing takes time

_LONGEST_NAME = 256  # bytes of a user's name

_REQUEST, _FAILURE, _SUCCESS, _KEY_FITS = 50, 51, 52, 60


class Access(Protocol):
    """Part of the access control that a login needs."""

    async def sender(
        self,
        host: str,
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        key: bytes | None = None,
    ) -> Sender:
        """Return the sender that a peer is; raise `FileRefused` for those that may not send."""


class Login(SSHService):
    """Service in which a client authenticates.

    Args:
        access: decides.
        host: address of the client.
        clock: for the pause after a wrong password.
        logged_in: called with the sender; goes on with the next service.
        refused: called with the refusal of a password or a token, and with the last one of others.
    """

    _log = QUIET
    name = b"ssh-userauth"
    protocolMessages = {_REQUEST: "MSG_USERAUTH_REQUEST"}  # noqa: RUF012

    transport: Transport

    def __init__(
        self,
        access: Access,
        host: str,
        clock: IReactorTime,
        logged_in: Callable[[Sender], None],
        refused: Callable[[FileRefused], None],
    ) -> None:
        self._access = access
        self._host = host
        self._clock = clock
        self._logged_in = logged_in
        self._refused = refused
        self._is_secret = False  # what the client shows: others are looked for, as keys are
        self._tries = 0
        self._passwords = 0

    @override
    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        if messageNum != _REQUEST:
            self.transport.sendUnimplemented()
            return
        self.transport.wait_for(self._answer(packet))

    async def _answer(self, packet: bytes) -> None:
        """Answer one try."""
        try:
            sender = await self._try(Fields(packet))
        except Malformed as fault:
            self.transport.disconnect(DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, str(fault))
            return
        except FileRefused as refused:
            self._tries += 1
            again = self._tries < MOST_TRIES and self._passwords < MOST_PASSWORDS
            if self._is_secret or not again:
                self._refused(refused)
            if refused.code not in ("denied", "expired"):
                self.transport.disconnect(DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, str(refused))
            elif again:
                self.transport.sendPacket(_FAILURE, string(b"publickey,password") + b"\0")
            else:
                self.transport.disconnect(DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, "too many refused tries")
            return
        if sender is not None and not self.transport.over:
            self.transport.sendPacket(_SUCCESS, b"")
            self._logged_in(sender)

    async def _try(self, request: Fields) -> Sender | None:
        """Return the sender; None if the try was answered and another one follows.

        Raises:
            FileRefused: the client is not who it says.
        """
        raw, service, method = request.string(), request.string(), request.string()
        if service != b"ssh-connection" or len(raw) > _LONGEST_NAME:
            raise Malformed("expected a login for ssh-connection")
        user = raw.decode(errors="replace")
        self._is_secret = method == b"password" or is_token(user)
        if is_token(user):
            return await self._access.sender(self._host, token=user)
        if method == b"none":
            return await self._access.sender(self._host, user=user)
        if method == b"password":
            request.byte()
            return await self._with_password(user, request.string().decode(errors="replace"))
        if method == b"publickey":
            return await self._with_key(user, raw, request)
        raise FileRefused("denied", "expected a key or a password")

    async def _with_password(self, user: str, password: str) -> Sender:
        try:
            if is_token(password):
                return await self._access.sender(self._host, token=password)
            return await self._access.sender(self._host, user=user, password=password)
        except FileRefused:
            self._passwords += 1
            pause: Deferred[None] = Deferred()
            self._clock.callLater(_WRONG_SECONDS, pause.callback, None)
            await pause
            raise

    async def _with_key(self, user: str, raw: bytes, request: Fields) -> Sender | None:
        signed, algorithm, blob = request.byte(), request.string(), request.string()
        if algorithm not in SIGNATURES:
            raise FileRefused("denied", "the key is of a kind that is not accepted")
        sender = await self._access.sender(self._host, user=user, key=blob)
        if not signed:
            self.transport.sendPacket(_KEY_FITS, string(algorithm) + string(blob))
            return None
        message = b"".join(
            (
                string(self.transport.sessionID or b""),
                bytes((_REQUEST,)),
                *map(string, (raw, b"ssh-connection", b"publickey")),
                b"\1",
                *map(string, (algorithm, blob)),
            )
        )
        if not _signed(blob, algorithm, request.string(), message):
            raise FileRefused("denied", "the signature is not that of the key")
        return sender


def _signed(blob: bytes, algorithm: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether a message was signed with a public key, by the algorithm that was announced."""
    try:
        key = Key.fromString(blob, "BLOB")
        fields = Fields(signature)
        if fields.string() != algorithm:
            return False
        if key.isSecurityKey():
            fields.string()
            rest = bytes(fields.take(5))  # flags and counter (OpenSSH, PROTOCOL.u2f)
            flags, counter = rest[:1], rest[1:]
            hashed = hashlib.sha256(key.application).digest(), hashlib.sha256(message).digest()
            message = hashed[0] + flags + counter + hashed[1]
        return bool(key.verify(signature, message))
    except (BadKeyError, Malformed, ValueError, KeyError, TypeError):  # whatever the client calls a key
        return False
