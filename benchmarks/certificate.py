"""Certificate of every TLS server of a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

CERTIFICATE, KEY = "certificate.pem", "key.pem"

VALID = timedelta(days=30)
"""Validity, longer than any run; sockd warns of a certificate that ends within two weeks."""


class Identity:
    """Key on P-256, as most servers have, and its self-signed certificate."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + VALID)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self._key, SHA256())
        )

    def write(self, folder: Path, certificate: str = CERTIFICATE, key: str = KEY) -> None:
        """Write both as files into a folder; only the owner can read the key."""
        file = folder / key
        file.touch(mode=0o600)
        file.write_bytes(self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / certificate).write_bytes(self._certificate.public_bytes(Encoding.PEM))
