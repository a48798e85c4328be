"""Certificate files as OpenSSL contexts, loaded again when the files change.

The defaults are what is safe today: TLS 1.2 and later; with 1.2 only authenticated ciphers with forward
secrecy; no compression, no renegotiation. Clients resume sessions by tickets that they keep, so that memory
does not grow with the number of clients. Tickets are valid as long as the loaded files: after a change each
client has to show its certificate again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags

from sockd.config import Tls
from sockd.tls.pem import CredentialsFault, Identity, Problem, load_certificates, load_identity

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Ciphers of TLS 1.2, in OpenSSL's syntax. Those of TLS 1.3 are all of this kind, and need no choice."""

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

_VERIFY = {
    "optional": SSL.VERIFY_PEER,
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}

_OPTIONS = SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION

_SESSION_ID = b"sockd"  # without an id OpenSSL resumes no session that has a client certificate


@dataclass(frozen=True, slots=True)
class Settings:
    """TLS settings of a listener.

    Attributes:
        certificate: a PEM file: the certificate, then those of its issuers up to the root, which may be
            left out; also the key, if `key` is None.
        key: a PEM file with the private key, not encrypted.
        more: further certificates with their keys, for clients that ask for a name in one of them (SNI).
        client_ca: a PEM file with the authorities whose clients may come in; None asks for no certificate.
        client_certificate: whether a client without a certificate may come in as well.
        alpn: protocols to agree on with a client that names any, the preferred one first.
        min_version: of TLS.
        ciphers: for TLS 1.2, in OpenSSL's syntax.
    """

    certificate: Path
    key: Path | None = None
    more: tuple[tuple[Path, Path | None], ...] = ()
    client_ca: Path | None = None
    client_certificate: Literal["required", "optional"] = "required"
    alpn: tuple[str, ...] = ()
    min_version: Literal["1.2", "1.3"] = "1.2"
    ciphers: str | None = None

    @classmethod
    def of(cls, tls: Tls) -> Settings:
        """Take the settings from the configuration of a listener."""
        return cls(
            certificate=tls.certificate,
            key=tls.key,
            more=tuple((other.certificate, other.key) for other in tls.more),
            client_ca=tls.client_ca,
            client_certificate=tls.client_certificate or "required",
            alpn=tls.alpn,
            min_version=tls.min_version,
            ciphers=tls.ciphers,
        )

    @property
    def pairs(self) -> tuple[tuple[Path, Path | None], ...]:
        """Certificates with their keys, the default first."""
        return ((self.certificate, self.key), *self.more)


class Credentials:
    """Certificates of one listener, and the checks of its clients' certificates.

    Raises:
        CredentialsFault: the settings or the files cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._load(_stamps(settings))

    def _load(self, stamps: Sequence[object]) -> None:
        self.identities, self._context = _loaded(self._settings)
        self._stamps = stamps

    def connection(self) -> SSL.Connection:
        """Create OpenSSL's end of a new connection, which waits for the client's first message."""
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        return connection

    def refresh(self) -> bool:
        """Load the files again for later connections, if one has changed; return whether one has.

        Raises:
            CredentialsFault: the changed files cannot be used, perhaps because only one of two is replaced
                yet. The loaded ones stay in use, and the next call tries again.
        """
        stamps = _stamps(self._settings)
        if stamps == self._stamps:
            return False
        self._load(stamps)
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """Host names of all certificates, without repetition."""
        return tuple(dict.fromkeys(name for identity in self.identities for name in identity.names))

    @property
    def expires(self) -> datetime:
        """Time at which the first of the certificates expires."""
        return min(identity.expires for identity in self.identities)


def _files(settings: Settings) -> Iterator[Path]:
    for pair in settings.pairs:
        yield from (path for path in pair if path is not None)
    if settings.client_ca is not None:
        yield settings.client_ca


def _stamps(settings: Settings) -> Sequence[object]:
    """Return a value that changes when a file is written to, replaced, or gets another mode."""
    return [_stamp(path) for path in _files(settings)]


def _stamp(path: Path) -> object:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _loaded(settings: Settings) -> tuple[tuple[Identity, ...], SSL.Context]:
    """Load every certificate; the default one's context passes connections to the others."""
    problems: list[Problem] = []
    identities: list[Identity] = []
    authorities: tuple[x509.Certificate, ...] = ()
    for path, key in settings.pairs:
        try:
            identities.append(load_identity(path, key))
        except CredentialsFault as fault:
            problems += fault.problems
    if settings.client_ca is not None:
        try:
            authorities = load_certificates(settings.client_ca)
        except CredentialsFault as fault:
            problems += fault.problems
    if problems:
        raise CredentialsFault(problems)
    by_name: dict[str, SSL.Context] = {}
    contexts = [_context(settings, identity, authorities) for identity in identities]
    for identity, context in zip(identities, contexts, strict=True):
        for name in identity.names:
            by_name.setdefault(name, context)
    if settings.more:
        contexts[0].set_tlsext_servername_callback(_choice_by_name(by_name))
    return tuple(identities), contexts[0]


def _context(settings: Settings, identity: Identity, authorities: Sequence[x509.Certificate]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[settings.min_version])
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # halves the memory of an idle connection
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # tickets still work
    ciphers = CIPHERS if settings.ciphers is None else settings.ciphers
    try:
        context.set_cipher_list(ciphers.encode())
    except SSL.Error:
        message = f"expected ciphers in OpenSSL's syntax, found none of TLS 1.2 in '{ciphers}'"
        raise CredentialsFault([Problem(identity.path, message)]) from None
    try:
        context.use_certificate(identity.chain[0])
        for certificate in identity.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(identity.key)
    except SSL.Error as error:
        message = f"OpenSSL does not take the certificate: {error.args[0][-1][-1]}"
        raise CredentialsFault([Problem(identity.path, message)]) from None
    if authorities:
        _ask_for_certificate(context, settings, authorities)
    if settings.alpn:
        context.set_alpn_select_callback(_choice_of_protocol(settings.alpn))
    return context


def _ask_for_certificate(
    context: SSL.Context, settings: Settings, authorities: Sequence[x509.Certificate]
) -> None:
    context.set_verify(_VERIFY[settings.client_certificate])
    context.set_session_id(_SESSION_ID)
    store: Any = context.get_cert_store()
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)  # an authority in the file need not be a root
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
        context.add_client_ca(authority)


def _choice_by_name(contexts: Mapping[str, SSL.Context]) -> Callable[[SSL.Connection], None]:
    """Return a callback that chooses the certificate for a requested name; the default one for any other."""

    def choose(connection: SSL.Connection) -> None:
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")
        _, _, parent = name.partition(".")
        context = contexts.get(name) or contexts.get(f"*.{parent}")
        if context is not None:
            connection.set_context(context)

    return choose


def _choice_of_protocol(names: Sequence[str]) -> Callable[[SSL.Connection, list[bytes]], bytes]:
    """Return a callback that chooses our first protocol that the client offers, or fails (RFC 7301, 3.2)."""
    ours = [name.encode() for name in names]

    def choose(_: SSL.Connection, offered: list[bytes]) -> bytes:
        for name in ours:
            if name in offered:
                return name
        raise SSL.Error([("SSL routines", "", "no application protocol")])

    return choose
