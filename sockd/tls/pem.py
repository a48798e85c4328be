"""Certificates and private keys from PEM files, with a message for each file that cannot be used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sockd.reading import Unreadable, read_bytes

MAX_FILE = 1024 * 1024
"""Bytes of a file at most: enough for all public authorities' certificates, and a bound for `/dev/zero`."""

PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)

_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----.*?-----END ([A-Z]+ )?PRIVATE KEY-----", re.DOTALL)
_DER = b"\x30"  # first byte of a certificate or key in the binary format


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem of a file, with its severity and the remedy."""

    path: Path
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class CredentialsFault(Exception):
    """Failure to use these files for TLS. Its `problems` are all that were found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Identity:
    """Certificate of a server, with its chain and its key.

    Attributes:
        path: the file that it is from.
        key_path: the file that the key is from.
        chain: the certificate itself first, then those of its issuers.
        names: of `subjectAltName`, in lower case: domain names, also with a wildcard, and IP addresses.
    """

    path: Path
    key_path: Path
    chain: tuple[x509.Certificate, ...]
    names: tuple[str, ...]
    key: PrivateKey = field(repr=False)

    @property
    def expires(self) -> datetime:
        """Time at which the certificate itself expires."""
        return self.chain[0].not_valid_after_utc


def load_identity(path: Path, key_path: Path | None) -> Identity:
    """Read a certificate and its key; the key is in the same file if `key_path` is None.

    Raises:
        CredentialsFault: a file cannot be read or used, or the two do not belong together.
    """
    text = _read(path)
    chain = _certificates(path, text)
    key = _key(path, text) if key_path is None else _key(key_path, _read(key_path))
    key_path = key_path or path
    owners = [certificate.public_key() == key.public_key() for certificate in chain]
    if True not in owners:
        raise _fault(key_path, f"expected the private key of {path}, found that of another certificate")
    if not owners[0]:
        place = owners.index(True) + 1
        raise _fault(path, f"expected the key's certificate first, found it in place {place}: move it up")
    try:
        names = _names(chain[0])
    except ValueError:
        raise _fault(path, "the names in the certificate (subjectAltName) cannot be parsed") from None
    return Identity(path, key_path, chain, names, key)


def load_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Read all certificates of a file, of which there is one at least.

    Raises:
        CredentialsFault: the file cannot be read or used.
    """
    return _certificates(path, _read(path))


def _fault(path: Path, message: str) -> CredentialsFault:
    return CredentialsFault([Problem(path, message)])


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, MAX_FILE)
    except Unreadable as error:
        raise _fault(path, f"cannot be read: {error}") from error


def _certificates(path: Path, data: bytes) -> tuple[x509.Certificate, ...]:
    if b"-----BEGIN" not in data:
        if data.startswith(_DER):
            raise _fault(path, "expected PEM, found DER: convert it with `openssl x509 -inform der`")
        raise _fault(path, "expected a certificate in PEM, found no -----BEGIN CERTIFICATE-----")
    try:
        chain = x509.load_pem_x509_certificates(data)
        for certificate in chain:
            certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise _fault(path, "expected certificates in PEM, found none, or one that cannot be parsed") from None
    return tuple(chain)


def _key(path: Path, data: bytes) -> PrivateKey:
    block = _KEY.search(data)
    if block is None:
        if data.startswith(_DER):
            raise _fault(path, "expected PEM, found DER: convert it with `openssl pkey -inform der`")
        raise _fault(path, "expected a private key in PEM, found no -----BEGIN PRIVATE KEY-----")
    try:
        # The skipped check searches the numbers for an attack. It takes a quarter of a second for a key of
        # 4096 bits, while nothing is served.
        key = load_pem_private_key(block[0], None, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # no password was given
        raise _fault(path, "the private key is encrypted: store it without one (`openssl pkey`)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _fault(path, "the private key cannot be parsed") from None
    if not isinstance(key, PrivateKey):
        raise _fault(path, "expected an RSA, ECDSA or EdDSA key, found one that TLS does not use")
    return key


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    domains = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*domains, *addresses)
