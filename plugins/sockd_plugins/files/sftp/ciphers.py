"""Encryption of SSH packets: AES-GCM (RFC 5647, in the form of OpenSSH), and AES-CTR with HMAC (RFC 4344).

Conch has only the second. AES-GCM takes half of its time, because one pass encrypts and authenticates.
"""

from __future__ import annotations

import hmac
import os
import struct
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

GCM = {b"aes128-gcm@openssh.com": 16, b"aes256-gcm@openssh.com": 32}
"""Names of authenticated ciphers, with the bytes of their keys."""

CTR = {b"aes128-ctr": 16, b"aes192-ctr": 24, b"aes256-ctr": 32}
"""Names of ciphers that need a MAC, with the bytes of their keys."""

MACS = {b"hmac-sha2-256": ("sha256", 32), b"hmac-sha2-512": ("sha512", 64)}
"""Names of MACs, with the hash and the bytes of a key and of a tag."""

LARGEST = 256 << 10
"""Bytes of a packet that a peer may send, as in OpenSSH."""

_BLOCK = 16  # bytes; of AES, and the least length of a packet
_PLAIN_BLOCK = 8  # bytes that a packet is padded to before there are keys
_TAG = 16  # bytes of a tag of GCM
_LEAST_PADDING = 4

_LENGTH = struct.Struct(">I")


class PacketFault(Exception):
    """Packet that cannot be read; nothing that follows it can be."""


class Seal(Protocol):
    """Encryption of the packets that are sent."""

    def seal(self, sequence: int, payload: bytes) -> bytes:
        """Return a packet as it is sent."""


class Opening(Protocol):
    """Decryption of the packets that arrive."""

    def open(self, data: memoryview, at: int, sequence: int) -> tuple[memoryview | None, int]:
        """Decrypt a packet.

        Args:
            data: bytes that have arrived.
            at: offset of the packet.
            sequence: its number.

        Returns:
            Its payload, and the offset of the next one; or None, and how many bytes of the packet are needed
            at least.

        Raises:
            PacketFault: it is malformed or was changed.
        """


class Plain:
    """Packets before there are keys."""

    def seal(self, _: int, payload: bytes) -> bytes:
        """Implement `Seal.seal`."""
        return _padded(payload, _PLAIN_BLOCK, 4)

    def open(self, data: memoryview, at: int, _: int) -> tuple[memoryview | None, int]:
        """Implement `Opening.open`."""
        if len(data) - at < 4:
            return None, 4
        length = _checked(_LENGTH.unpack_from(data, at)[0], _PLAIN_BLOCK, 4)
        end = at + 4 + length
        if end > len(data):
            return None, 4 + length
        return _payload(data[at + 4 : end]), end


class Galois:
    """Packets with AES-GCM, in one direction.

    Args:
        key: of the length that the cipher takes.
        nonce: 12 bytes; the last 8 count the packets.
    """

    def __init__(self, key: bytes, nonce: bytes) -> None:
        cipher = AESGCM(key)
        self._encrypt, self._decrypt = cipher.encrypt, cipher.decrypt
        self._fixed = nonce[:4]
        self._count = int.from_bytes(nonce[4:12], "big")

    def seal(self, _: int, payload: bytes) -> bytes:
        """Implement `Seal.seal`."""
        packet = _padded(payload, _BLOCK, 0)
        return packet[:4] + self._encrypt(self._nonce(), packet[4:], packet[:4])

    def open(self, data: memoryview, at: int, _: int) -> tuple[memoryview | None, int]:
        """Implement `Opening.open`."""
        if len(data) - at < 4:
            return None, 4
        length = _checked(_LENGTH.unpack_from(data, at)[0], _BLOCK, 0)
        begin = at + 4
        end = begin + length + _TAG
        if end > len(data):
            return None, end - at
        try:
            body = self._decrypt(self._nonce(), data[begin:end], data[at:begin])
        except InvalidTag:
            raise PacketFault("a packet was changed on its way") from None
        return _payload(memoryview(body)), end

    def _nonce(self) -> bytes:
        count = self._count
        self._count = (count + 1) & 0xFFFFFFFFFFFFFFFF
        return self._fixed + count.to_bytes(8, "big")


class Sealer:
    """Packets that are sent, with AES-CTR and HMAC.

    Args:
        cipher: encrypts.
        mac: hash and key of the HMAC.
    """

    def __init__(self, cipher: Cipher[modes.CTR], mac: tuple[str, bytes]) -> None:
        self._encrypt = cipher.encryptor().update
        self._hash, self._key = mac

    def seal(self, sequence: int, payload: bytes) -> bytes:
        """Implement `Seal.seal`."""
        packet = _padded(payload, _BLOCK, 4)
        return self._encrypt(packet) + hmac.digest(
            self._key, sequence.to_bytes(4, "big") + packet, self._hash
        )


class Opener:
    """Packets that arrive, with AES-CTR and HMAC.

    Args:
        cipher: decrypts.
        mac: hash and key of the HMAC.
    """

    def __init__(self, cipher: Cipher[modes.CTR], mac: tuple[str, bytes]) -> None:
        self._decrypt = cipher.decryptor().update
        self._hash, self._key = mac
        self._begin = b""  # the first block of a packet, decrypted

    def open(self, data: memoryview, at: int, sequence: int) -> tuple[memoryview | None, int]:
        """Implement `Opening.open`."""
        begin = self._begin
        if not begin:
            if len(data) - at < _BLOCK:
                return None, _BLOCK
            begin = self._begin = self._decrypt(data[at : at + _BLOCK])
        length = _checked(_LENGTH.unpack_from(begin)[0], _BLOCK, 4)
        tag = at + 4 + length
        end = tag + len(self._key)
        if end > len(data):
            return None, end - at
        # The MAC is that of the packet in plain, behind its number.
        plain = b"".join((sequence.to_bytes(4, "big"), begin, self._decrypt(data[at + _BLOCK : tag])))
        self._begin = b""
        if not hmac.compare_digest(hmac.digest(self._key, plain, self._hash), data[tag:end]):
            raise PacketFault("a packet was changed on its way")
        return _payload(memoryview(plain)[8:]), end


def make_seal(name: bytes, mac: bytes, nonce: bytes, key: bytes, mac_key: bytes) -> Seal:
    """Make the encryption of a negotiated cipher; the key material may be longer than is needed."""
    if name in GCM:
        return Galois(key[: GCM[name]], nonce[:12])
    hash_, length = MACS[mac]
    return Sealer(_counter(name, nonce, key), (hash_, mac_key[:length]))


def make_opening(name: bytes, mac: bytes, nonce: bytes, key: bytes, mac_key: bytes) -> Opening:
    """Make the decryption of a negotiated cipher; the key material may be longer than is needed."""
    if name in GCM:
        return Galois(key[: GCM[name]], nonce[:12])
    hash_, length = MACS[mac]
    return Opener(_counter(name, nonce, key), (hash_, mac_key[:length]))


def _counter(name: bytes, nonce: bytes, key: bytes) -> Cipher[modes.CTR]:
    return Cipher(algorithms.AES(key[: CTR[name]]), modes.CTR(nonce[:_BLOCK]))


def _padded(payload: bytes, block: int, counted: int) -> bytes:
    """Return a packet in plain: length, length of the padding, payload, padding (RFC 4253, 6).

    Args:
        payload: of the packet.
        block: bytes of which the length is a multiple.
        counted: bytes of the length field that count for this.
    """
    padding = block - (counted + 1 + len(payload)) % block
    if padding < _LEAST_PADDING:
        padding += block
    length = 1 + len(payload) + padding
    return b"".join((length.to_bytes(4, "big"), bytes((padding,)), payload, os.urandom(padding)))


def _checked(length: int, block: int, counted: int) -> int:
    """Return the length of a packet, if a packet can have it."""
    if not _BLOCK - counted <= length <= LARGEST or (length + counted) % block:
        raise PacketFault(f"expected a packet of at most {LARGEST} bytes, found {length}")
    return length


def _payload(body: memoryview) -> memoryview:
    """Return the payload of a packet from behind its length."""
    padding = body[0]
    if not _LEAST_PADDING <= padding < len(body) - 1:
        raise PacketFault("a packet has more padding than bytes")
    return body[1 : len(body) - padding]
