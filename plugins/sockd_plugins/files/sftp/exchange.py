"""Key exchange of SSH (RFC 4253, 7): its algorithms, its keys, and the order of its messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import MSG_DISCONNECT, MSG_KEXINIT, MSG_NEWKEYS

from sockd_plugins.files.sftp.ciphers import Opening, PacketFault, Plain, Seal, make_opening, make_seal

EXCHANGES = (
    b"mlkem768x25519-sha256",
    b"curve25519-sha256",
    b"curve25519-sha256@libssh.org",
    b"ecdh-sha2-nistp256",
    b"ecdh-sha2-nistp384",
    b"ecdh-sha2-nistp521",
)
"""Methods of the key exchange, the best first. The first message of each is the same."""

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

_METHOD_INIT = 30  # SSH_MSG_KEX_ECDH_INIT
_LAST = 49  # number of the messages of a key exchange

_FOLLOWS = {MSG_KEXINIT: _METHOD_INIT, _METHOD_INIT: MSG_NEWKEYS, MSG_NEWKEYS: MSG_KEXINIT}
"""Message of a key exchange that a client sends after another one."""


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


class Keys:
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


class Order:
    """Order of the messages of key exchanges, from the client (RFC 4253, 7).

    Attributes:
        is_guessed: whether the next message is that of a method which the client has guessed, and wrongly.
    """

    def __init__(self) -> None:
        self.is_guessed = False
        self._expected = MSG_KEXINIT

    def take(self, number: int) -> bool:
        """Take the number of a message; return False if the message has to be dropped.

        Raises:
            PacketFault: another message has to come.
        """
        if not MSG_KEXINIT <= number <= _LAST:
            return True
        if self.is_guessed and number >= _METHOD_INIT:
            self.is_guessed = False
            return False
        if number != self._expected:
            raise PacketFault("a message of the key exchange comes at the wrong time")
        self._expected = _FOLLOWS[number]
        return True


def is_in_exchange(number: int) -> bool:
    """Tell whether a message may come in the first key exchange, if that is strict."""
    return MSG_KEXINIT <= number <= _LAST or number == MSG_DISCONNECT
