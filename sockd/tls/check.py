"""Checks of TLS settings and their files: faults, and what will soon be one, before a client meets it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from sockd.tls.credentials import Credentials, Settings
from sockd.tls.pem import CredentialsFault, Identity, Problem, load_certificates, load_identity

RENEW_WITHIN = timedelta(days=14)
"""Time left at which a certificate is reported: tools that renew certificates do it earlier."""

MIN_RSA_BITS = 2048
"""Bits of an RSA key at least, for clients and for OpenSSL itself (security level 2)."""

MAX_PROTOCOL_NAME = 255
"""Bytes of a protocol's name in ALPN (RFC 7301, 3.1)."""


def problems(settings: Settings, now: datetime) -> list[Problem]:
    """Return all problems of all files; an error is a problem that stops clients, or should.

    Args:
        settings: of one listener.
        now: with its time zone.
    """
    found: list[Problem] = []
    identities: list[Identity] = []
    for path, key_path in settings.pairs:
        try:
            identities.append(load_identity(path, key_path))
        except CredentialsFault as fault:
            found += fault.problems
    for identity in identities:
        found += _of_identity(identity, now)
    found += _never_chosen(identities)
    if settings.client_ca is not None:
        found += _of_client_ca(settings.client_ca, now)
    found += _of_protocol_names(settings)
    if not any(problem.severity == "error" for problem in found):
        try:
            Credentials(settings)
        except CredentialsFault as fault:
            found += fault.problems
    return found


def _of_identity(identity: Identity, now: datetime) -> Iterator[Problem]:
    path = identity.path
    yield from _of_permissions(identity.key_path)
    if isinstance(identity.key, rsa.RSAPrivateKey) and identity.key.key_size < MIN_RSA_BITS:
        yield Problem(
            identity.key_path,
            f"expected an RSA key of at least {MIN_RSA_BITS} bits, found {identity.key.key_size}",
        )
    if not identity.names:
        yield Problem(path, "the certificate names no host (subjectAltName): clients refuse it", "warning")
    for place, certificate in enumerate(identity.chain, 1):
        yield from _of_dates(path, place, certificate, now)
    for place, (certificate, issuer) in enumerate(pairwise(identity.chain), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            message = (
                f"certificate {place} is not signed by certificate {place + 1}: "
                "order them from the server's own to the root, each followed by its issuer"
            )
            yield Problem(path, message)


def _of_permissions(path: Path) -> Iterator[Problem]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield Problem(path, f"cannot be examined: {str(error.strerror).lower()}")
        return
    if mode & stat.S_IROTH:
        yield Problem(path, f"anybody may read the private key (mode {mode & 0o777:o}): chmod 600")
    elif mode & stat.S_IRGRP:
        yield Problem(path, f"its group may read the private key (mode {mode & 0o777:o})", "warning")


def _of_dates(path: Path, place: int, certificate: x509.Certificate, now: datetime) -> Iterator[Problem]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        yield Problem(path, f"certificate {place} is not valid before {begin:%Y-%m-%d %H:%M} UTC")
    elif now > end:
        yield Problem(path, f"certificate {place} expired on {end:%Y-%m-%d %H:%M} UTC: renew it")
    elif end - now < RENEW_WITHIN:
        yield Problem(path, f"certificate {place} expires on {end:%Y-%m-%d %H:%M} UTC: renew it", "warning")


def _never_chosen(identities: list[Identity]) -> Iterator[Problem]:
    """Yield the certificates whose names all belong to earlier ones."""
    seen: set[str] = set()
    for identity in identities:
        if seen and seen.issuperset(identity.names):
            yield Problem(identity.path, "never used: others before it have all its names", "warning")
        seen.update(identity.names)


def _of_client_ca(path: Path, now: datetime) -> Iterator[Problem]:
    try:
        certificates = load_certificates(path)
    except CredentialsFault as fault:
        yield from fault.problems
        return
    for place, certificate in enumerate(certificates, 1):
        yield from _of_dates(path, place, certificate, now)
    if not any(_is_authority(certificate) for certificate in certificates):
        yield Problem(path, "expected the certificate of an authority (CA), found none that is one")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return certificate.issuer == certificate.subject  # OpenSSL takes an old root certificate so


def _of_protocol_names(settings: Settings) -> Iterator[Problem]:
    for name in settings.alpn:
        size = len(name.encode())
        if not 1 <= size <= MAX_PROTOCOL_NAME:
            message = f"expected names of 1 to {MAX_PROTOCOL_NAME} bytes for alpn, found one of {size}"
            yield Problem(settings.certificate, message)
