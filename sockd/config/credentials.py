"""Credentials of NATS: a key that signs what a server asks it to.

A file of credentials has a JWT and the seed of the key, each between lines of dashes; a file of a bare key
has the seed alone. A seed is base32 of two bytes of prefix, 32 bytes of an Ed25519 key, and CRC-16/XMODEM in
little-endian order; a public key has one byte of prefix.
"""

from __future__ import annotations

import binascii
import re
from base64 import b32decode, b32encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_SEED = re.compile(r"\bS[A-Z2-7]{57}\b")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

_PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)

_SEED_PREFIX = 0x90
"""First five bits of a seed, which make its text begin with `S`."""


@dataclass(frozen=True, slots=True)
class Key:
    """Key of a client.

    Attributes:
        jwt: what the operator of the servers has signed about it; empty for a key that the server itself
            has in its configuration.
        public: public key, in the text form of NATS.
    """

    jwt: str
    public: str
    _private: Ed25519PrivateKey

    def answer(self, nonce: str) -> Mapping[str, str]:
        """Return the part of CONNECT that answers a nonce."""
        signature = urlsafe_b64encode(self._private.sign(nonce.encode())).rstrip(b"=").decode()
        known_by = {"jwt": self.jwt} if self.jwt else {"nkey": self.public}
        return {**known_by, "sig": signature}


def read_key(text: str) -> Key:
    """Return the key of a file's text.

    Raises:
        ValueError: there is none in it, or it is damaged.
    """
    found = _SEED.search(text)
    if found is None:
        raise ValueError("there is no seed in it: 58 letters and digits, of which the first is an S")
    raw = b32decode(found[0] + "=" * (-len(found[0]) % 8))
    if raw[0] & 0xF8 != _SEED_PREFIX or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
        raise ValueError("its seed is damaged")
    kind = (raw[0] & 7) << 5 | raw[1] >> 3
    private = Ed25519PrivateKey.from_private_bytes(raw[2:34])
    public = bytes([kind]) + private.public_key().public_bytes_raw()
    checked = public + binascii.crc_hqx(public, 0).to_bytes(2, "little")
    jwt = _JWT.search(text)
    return Key(jwt[0] if jwt else "", b32encode(checked).decode().rstrip("="), private)


def read_authorities(text: str) -> None:
    """Read certificates in PEM.

    Raises:
        ValueError: there are none, or they are damaged.
    """
    x509.load_pem_x509_certificates(text.encode())


def read_certificate(text: str) -> tuple[x509.Certificate, PrivateKeyTypes]:
    """Return a certificate and its key in PEM.

    Raises:
        ValueError: one is missing or damaged, or the key is another one's.
    """
    certificate = x509.load_pem_x509_certificate(text.encode())
    found = _PRIVATE.search(text)
    if found is None:
        raise ValueError("there is no key in it")
    try:
        key = load_pem_private_key(found[0].encode(), None)
    except TypeError as error:
        raise ValueError("its key is encrypted") from error
    if key.public_key() != certificate.public_key():
        raise ValueError("its key is that of another certificate")
    return certificate, key
