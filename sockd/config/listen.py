"""Table of a listener: its endpoint, and the layers between that and the plugin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from sockd.config.networks import AnyNetworks
from sockd.config.positions import KeyPath
from sockd.config.written import FilePath, Size, SomeTime, Written, folder_of
from sockd.endpoint import MAX_BACKLOG, Endpoint, InetEndpoint, SystemdEndpoint, UnixEndpoint, parse, resolve
from sockd.errors import ValueFault

MAX_SOCKET_BUFFER = 2**30 - 1
"""Bytes of a socket's buffer: the kernel doubles the value and keeps it in an int (socket(7))."""

MAX_ALPN = 255
"""Bytes of a protocol's name: its length is sent as one byte (RFC 7301, 3.1)."""

_TABLE = ConfigDict(frozen=True, extra="forbid")


ENDPOINT_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "description": "Where a port is: tcp:PORT, tcp6:PORT, udp:PORT, udp6:PORT, each with :interface=ADDRESS; "
    "unix:PATH or unixgram:PATH (each with :mode=OCTAL); streams also take :backlog=N. "
    "systemd:NAME, or systemd:NAME:type=datagram, is a socket that systemd has opened.",
    "examples": ["tcp:7007", "udp:7007:interface=127.0.0.1", "tcp6:7007", "unix:run/echo.sock:mode=660"],
    "pattern": r"^(tcp6?|udp6?|unix|unixgram|systemd):",
}


def _read_endpoint(value: str | int) -> Endpoint:
    if isinstance(value, int):
        nearest = f'"tcp:{value}"' if 0 < value < 2**16 else None
        raise ValueFault('an endpoint in quotes such as "tcp:7007"', str(value), nearest=nearest)
    return parse(value)


EndpointText = Annotated[
    Endpoint,
    Written("an endpoint such as tcp:7007", _read_endpoint, ENDPOINT_SCHEMA, number=True),
    AfterValidator(lambda endpoint, info: resolve(endpoint, folder_of(info))),
]

SocketBuffer = Annotated[Size, Field(ge=1, le=MAX_SOCKET_BUFFER)]


def _read_alpn(text: str) -> str:
    if not 1 <= len(text.encode()) <= MAX_ALPN:
        raise ValueFault(_AN_ALPN, repr(text))
    return text


_AN_ALPN = f"the name of a protocol of 1 to {MAX_ALPN} bytes"
_Alpn = Annotated[
    str, Written(_AN_ALPN, _read_alpn, {"type": "string", "minLength": 1, "maxLength": MAX_ALPN})
]

ClientCertificate = Literal["required", "optional"]


def _for_client_ca(asked: ClientCertificate | None, info: ValidationInfo) -> ClientCertificate | None:
    """Return whether a client must have a certificate, which needs an authority to trust."""
    if "client_ca" not in info.data:
        return asked
    if info.data["client_ca"] is not None:
        return asked or "required"
    if asked is not None:
        raise ValueError("needs client_ca, the authorities whose certificates are trusted")
    return None


class CertificateFiles(BaseModel):
    """Further certificate, for the names that it has."""

    model_config = _TABLE

    certificate: FilePath = Field(description="Certificate, then those that lead to its authority, in PEM.")
    key: FilePath | None = Field(
        default=None, description="Private key, in PEM; without it, in the certificate's file."
    )


class Tls(BaseModel):
    """Encryption, between the endpoint and the protocol."""

    model_config = _TABLE

    certificate: FilePath = Field(description="Certificate, then those that lead to its authority, in PEM.")
    key: FilePath | None = Field(
        default=None, description="Private key, in PEM; without it, in the certificate's file."
    )
    more: tuple[CertificateFiles, ...] = Field(
        default=(), description="Further certificates, each for clients that ask for one of its names."
    )
    client_ca: FilePath | None = Field(
        default=None, description="Authorities whose certificates are trusted in clients, in PEM."
    )
    client_certificate: Annotated[ClientCertificate | None, AfterValidator(_for_client_ca)] = Field(
        default=None,
        validate_default=True,
        description='Whether a client must have a certificate, "required" or "optional"; required, if '
        "there is a client_ca.",
    )
    alpn: tuple[_Alpn, ...] = Field(
        default=(),
        description="Protocols for clients that offer some (ALPN), the best first.",
    )
    min_version: Literal["1.2", "1.3"] = Field(
        default="1.2", description='Oldest version of TLS: "1.2" or "1.3".'
    )
    ciphers: str | None = Field(
        default=None,
        min_length=1,
        description="Ciphers of TLS 1.2, as OpenSSL writes them; without it, known good ones.",
    )

    def files(self) -> Iterator[tuple[KeyPath, Path]]:
        """Return every file that is named, by its key."""
        named: dict[KeyPath, Path | None] = {
            ("certificate",): self.certificate,
            ("key",): self.key,
            ("client_ca",): self.client_ca,
        }
        for index, other in enumerate(self.more):
            named["more", index, "certificate"] = other.certificate
            named["more", index, "key"] = other.key
        return ((key, path) for key, path in named.items() if path is not None)


class ProxyProtocol(BaseModel):
    """Header with which a proxy tells whose connection it relays."""

    model_config = _TABLE

    trust: AnyNetworks = Field(
        default=(),
        validate_default=True,
        description="Networks of trusted proxies; a UNIX socket needs none, as its mode says who may "
        "connect.",
    )
    mode: Literal["require", "allow"] = Field(
        default="require",
        description='"require": no connection without a header; "allow": a connection without one is the '
        "peer's own.",
    )


class SocketOptions(BaseModel):
    """Options of the kernel for one listener; an option that its kind does not have is a fault."""

    model_config = _TABLE

    reuse_address: bool = Field(
        default=True,
        description="TCP: open the port although connections of an earlier process linger on it.",
    )
    keepalive: bool = Field(
        default=True, description="TCP: let the kernel detect that a silent peer is gone."
    )
    no_delay: bool = Field(default=True, description="TCP: send small pieces at once.")
    user_timeout: SomeTime | None = Field(
        default=None,
        description="TCP: time for which sent data may stay unacknowledged before the connection ends.",
    )
    defer_accept: SomeTime | None = Field(
        default=None,
        description="TCP: accept a connection once its first data is there, or after this time.",
    )
    backlog: int | None = Field(
        default=None,
        ge=1,
        le=MAX_BACKLOG,
        description="TCP, UNIX streams: connections that may wait to be accepted.",
    )
    receive_buffer: SocketBuffer | None = Field(
        default=None,
        description="Bytes of unread data that the kernel keeps.",
    )
    send_buffer: SocketBuffer | None = Field(
        default=None,
        description="Bytes of unsent data that the kernel keeps.",
    )
    v6_only: bool = Field(
        default=True, description="IPv6: leave IPv4 to other listeners; false takes it as well."
    )
    stock: bool = Field(
        default=False,
        description="Streams: serve on Twisted's own transports, for code that reaches into them.",
    )

    def misfits(self, endpoint: Endpoint) -> Iterator[tuple[str, str]]:
        """Yield the given options that `endpoint` does not have, each with the kind that has it."""
        if isinstance(endpoint, SystemdEndpoint):
            own = "an endpoint that sockd opens itself"  # the others are those of the socket unit
            yield from ((option, own) for option in sorted(self.model_fields_set - {"stock"}))
            return
        inet = endpoint if isinstance(endpoint, InetEndpoint) else None
        fits = {
            "a TCP endpoint": inet is not None and inet.stream,
            "an IPv6 endpoint": inet is not None and inet.ipv6,
            "a stream endpoint": endpoint.stream,
        }
        for option in sorted(self.model_fields_set):
            kind = _NEEDS.get(option)
            if kind and not fits[kind]:
                yield option, kind


_NEEDS = {
    "reuse_address": "a TCP endpoint",
    "keepalive": "a TCP endpoint",
    "no_delay": "a TCP endpoint",
    "user_timeout": "a TCP endpoint",
    "defer_accept": "a TCP endpoint",
    "backlog": "a stream endpoint",
    "v6_only": "an IPv6 endpoint",
    "stock": "a stream endpoint",
}


class Listener(BaseModel):
    """Listener of a service. Its endpoint alone, as a string, is a listener with all defaults."""

    model_config = _TABLE

    endpoint: EndpointText = Field(description=ENDPOINT_SCHEMA["description"])
    protocol: str | None = Field(
        default=None, description="Protocol of the plugin; without it, the plugin's first."
    )
    tls: Tls | None = Field(default=None, description="Streams: encryption with TLS.")
    proxy_protocol: ProxyProtocol | None = Field(
        default=None, description="Streams: the header with which a proxy tells whose connection it relays."
    )
    socket: SocketOptions = Field(default=SocketOptions(), description="Options of the socket.")

    @model_validator(mode="before")
    @classmethod
    def _from_endpoint(cls, value: Any) -> Any:
        if isinstance(value, (dict, Listener)):
            return value
        if isinstance(value, str) or type(value) is int:
            return {"endpoint": value}
        raise PydanticCustomError(
            "listener_type", 'Input should be an endpoint such as "tcp:7007", or a table'
        )

    @property
    def backlog(self) -> int | None:
        """Number of connections that may wait to be accepted, from either of its two places."""
        return self.socket.backlog or self.endpoint.backlog if self.endpoint.stream else None

    def misfits(self) -> Iterator[tuple[KeyPath, str]]:
        """Yield what is given although the endpoint does not have it, each by its key and with the reason."""
        endpoint = self.endpoint
        for option, kind in self.socket.misfits(endpoint):
            yield ("socket", option), f"only {kind} has this option, found {endpoint}"
        if self.socket.backlog and endpoint.backlog:
            yield ("socket", "backlog"), "given twice, as the endpoint has backlog= too"
        for key in ("tls", "proxy_protocol"):
            if getattr(self, key) is not None and not endpoint.stream:
                yield (key,), f"only a stream endpoint has this, found {endpoint}"
        proxy = self.proxy_protocol
        if proxy and not proxy.trust and not isinstance(endpoint, UnixEndpoint) and endpoint.stream:
            yield (
                ("proxy_protocol", "trust"),
                "expected the networks of the proxies, found none: anybody could pretend to be somebody else",
            )
