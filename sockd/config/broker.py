"""`[broker]`: servers by which the services of several workers and machines are one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from sockd.config.credentials import read_authorities, read_certificate, read_key
from sockd.config.written import Duration, Size, Written
from sockd.errors import ValueFault

PORT = 4222
"""Port of NATS."""

_A_SERVER = "a server such as nats://10.0.0.1:4222, or tls:// with encryption"

_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "description": "nats://HOST:PORT, or tls://HOST:PORT for a server that must speak TLS.",
    "examples": ["nats://127.0.0.1:4222", "tls://nats.example.org:4222"],
    "pattern": "^(nats|tls)://",
}


@dataclass(frozen=True, slots=True)
class Server:
    """Address of a server.

    Attributes:
        host: name or address.
        port: of TCP.
        tls: whether it must speak TLS.
    """

    host: str
    port: int = PORT
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'nats'}://{host}:{self.port}"


def server_of(text: str) -> Server:
    """Return the server of `nats://HOST:PORT` or `tls://HOST:PORT`, where the port may be left out.

    Raises:
        ValueFault: it is none.
    """
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in ("nats", "tls"):
        raise ValueFault(_A_SERVER, repr(text), length=len(scheme) if mark else 0)
    if "@" in rest:
        raise ValueFault("no user in the address: user and password are keys of their own", repr(text))
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueFault(_A_SERVER, repr(text)) from error
    if not host or port == 0 or re.fullmatch(r"[A-Za-z0-9._:%\[\]-]+", rest) is None:
        raise ValueFault(_A_SERVER, repr(text))
    return Server(host, port or PORT, scheme == "tls")


def _for_servers(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    """Refuse servers of which some must encrypt and others not: the cluster tells more of them."""
    if len({server.tls for server in servers}) > 1:
        raise ValueFault("servers that all speak TLS, or none of them", "both nats:// and tls://")
    return servers


def _with_user(password: str | None, info: ValidationInfo) -> str | None:
    if password is not None and not info.data.get("user"):
        raise ValueFault("a user for the password", "none")
    return password


def _readable(expected: str, read: Callable[[str], object]) -> AfterValidator:
    """Return a validator that refuses a text that cannot be read, with the reason."""

    def check(text: str | None) -> str | None:
        if text is not None:
            try:
                read(text)
            except ValueError as error:
                raise ValueFault(expected, f"something else: {error}") from error
        return text

    return AfterValidator(check)


_Server = Annotated[Server, Written(_A_SERVER, server_of, _SCHEMA)]


class Broker(BaseModel):
    """Servers of NATS that join the services of several workers and machines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    servers: Annotated[tuple[_Server, ...], AfterValidator(_for_servers)] = Field(
        default=(),
        description="Servers of NATS, version 2.11 or newer, with JetStream; they tell of the others of "
        "their cluster. Without any, each process is on its own.",
    )
    name: str = Field(
        default="sockd",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="Name of the stream. Daemons with the same one share their services.",
    )
    user: str | None = Field(default=None, min_length=1, description="Name of this client at the servers.")
    password: Annotated[str | None, AfterValidator(_with_user)] = Field(
        default=None, description="Password of the user."
    )
    token: str | None = Field(default=None, min_length=1, description="Token, in place of a user.")
    credentials: Annotated[str | None, _readable("credentials with the seed of a key", read_key)] = Field(
        default=None,
        description="Credentials with a key that signs, in place of a user: what `nsc` or `nk` have written.",
    )
    ca: Annotated[str | None, _readable("certificates in PEM", read_authorities)] = Field(
        default=None,
        description="Authorities that sign the certificates of the servers, in PEM; without it, those of the "
        "system.",
    )
    certificate: Annotated[str | None, _readable("certificate and key in PEM", read_certificate)] = Field(
        default=None, description="Certificate of this client and its key, in PEM, for servers that ask."
    )
    replicas: int = Field(
        default=1, ge=1, le=5, description="Servers that have everything: 3 of a cluster of three."
    )
    keep: int = Field(
        default=1000,
        ge=10,
        le=1_000_000,
        description="Batches of entries that are kept of each subject, for those who were away.",
    )
    store: Annotated[Size, Field(ge=2**20)] = Field(
        default="1GiB",
        validate_default=True,
        description="Bytes of the stream. When they are used up, nothing more is taken.",
    )
    expiry: Annotated[Duration, Field(ge=6, le=3600)] = Field(
        default="15s",
        validate_default=True,
        description="Time without a sign of life after which a process is gone, and its names are free.",
    )
