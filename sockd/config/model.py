"""The tables of the configuration file and their keys; each description is the key's documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from sockd.config.written import Duration, DurationOrOff, Size, Written
from sockd.endpoint import MAX_BACKLOG, Endpoint, InetEndpoint, parse, resolve
from sockd.errors import ValueFault

ABSENT: Mapping[tuple[str, str], str] = {
    ("", "control"): "the control socket",
    ("", "metrics"): "the metrics port",
    ("listen", "tls"): "TLS",
    ("listen", "proxy_protocol"): "the PROXY protocol",
    ("limits", "max_per_source"): "a limit per source",
    ("limits", "allow"): "a list of allowed networks",
    ("limits", "deny"): "a list of denied networks",
}
"""By table and key: what the configuration will have and this version does not serve."""

MAX_SOCKET_BUFFER = 2**30 - 1
"""Bytes. The kernel doubles the value and keeps it in an int (socket(7))."""

_TABLE = ConfigDict(frozen=True, extra="forbid")


def _folder(info: ValidationInfo) -> Path:
    context: Mapping[str, Path] = info.context or {}
    return context.get("folder", Path())


def _read_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueFault("a path", repr(text))
    return Path(text)


def _read_endpoint(text: str) -> Endpoint:
    if text.startswith("systemd:"):
        raise ValueError("an inherited socket (systemd:) is not available in this version")
    return parse(text)


def _one_process(workers: int) -> int:
    if workers:
        raise ValueError("more than one process (workers above 0) is not available in this version")
    return workers


FilePath = Annotated[
    Path,
    Written("a path", _read_path, {"type": "string", "minLength": 1}),
    AfterValidator(lambda path, info: Path(_folder(info), path)),
]
"""A path; a relative one counts from the folder of the file it is written in."""

ENDPOINT_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "description": "Where a port is: tcp:PORT, tcp6:PORT, udp:PORT, udp6:PORT, each with :interface=ADDRESS; "
    "unix:PATH or unixgram:PATH (each with :mode=OCTAL); streams also take :backlog=N.",
    "examples": ["tcp:7007", "udp:7007:interface=127.0.0.1", "tcp6:7007", "unix:run/echo.sock:mode=660"],
    "pattern": r"^(tcp6?|udp6?|unix|unixgram):",
}

EndpointText = Annotated[
    Endpoint,
    Written("an endpoint such as tcp:7007", _read_endpoint, ENDPOINT_SCHEMA),
    AfterValidator(lambda endpoint, info: resolve(endpoint, _folder(info))),
]


SocketBuffer = Annotated[Size, Field(ge=1, le=MAX_SOCKET_BUFFER)]
SomeTime = Annotated[Duration, Field(gt=0)]


class Daemon(BaseModel):
    """The process as a whole."""

    model_config = _TABLE

    workers: Annotated[int, Field(ge=0), AfterValidator(_one_process)] = Field(
        default=0, description="How many worker processes serve; 0 serves inside the twistd process."
    )
    state_dir: FilePath = Field(
        default="state",
        description="The folder in which services keep what must last.",
        validate_default=True,
    )
    include: tuple[str, ...] = Field(
        default=(), description="Further files, with wildcards, in sorted order; they hold only services."
    )
    drain_timeout: Duration = Field(
        default="30s",
        validate_default=True,
        description="How long connections may go on after the daemon was told to stop.",
    )


class Log(BaseModel):
    """What is written of what happens."""

    model_config = _TABLE

    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="console is for people, json for machines; auto: console on a terminal."
    )
    level: Literal["debug", "info", "warn", "error"] = Field(
        default="info", description="The least important events that are written."
    )
    file: FilePath | None = Field(
        default=None, description="The file that events are appended to, in place of standard output."
    )


class Limits(BaseModel):
    """What one service may use. [limits] is what every service starts from; a service's own keys win."""

    model_config = _TABLE

    max_connections: int = Field(
        default=10_000,
        ge=1,
        description="Connections that a service has open at once, over all its listeners.",
    )
    idle_timeout: DurationOrOff = Field(
        default="10m",
        validate_default=True,
        description='How long a connection may be silent both ways; "off" lets it be silent for ever.',
    )
    close_timeout: Duration = Field(
        default="5s",
        validate_default=True,
        description="How long a closing connection may go without its peer taking a byte.",
    )
    max_unread_output: Annotated[Size, Field(ge=1)] = Field(
        default="1MiB",
        validate_default=True,
        description="Bytes that may wait for a peer that does not read them.",
    )
    max_amplification: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Bytes of reply for each byte of a datagram; without it, what the plugin says.",
    )
    reply_floor: Size | None = Field(
        default=None,
        description="Bytes that any datagram may be answered with; without it, what the plugin says.",
    )

    def under(self, common: Limits) -> Limits:
        """These limits, with what they do not give taken from `common`."""
        return common.model_copy(update={key: getattr(self, key) for key in self.model_fields_set})


class SocketOptions(BaseModel):
    """What is asked of the kernel for one listener; an option that its kind does not have is a fault."""

    model_config = _TABLE

    reuse_address: bool = Field(
        default=True,
        description="TCP: open the port although connections of an earlier process linger on it.",
    )
    keepalive: bool = Field(
        default=True, description="TCP: let the kernel find out that a silent peer is gone."
    )
    no_delay: bool = Field(default=True, description="TCP: send small pieces at once.")
    user_timeout: SomeTime | None = Field(
        default=None,
        description="TCP: how long sent data may stay unacknowledged before the connection ends.",
    )
    defer_accept: SomeTime | None = Field(
        default=None,
        description="TCP: accept a connection once its first data is there, or after this long.",
    )
    backlog: int | None = Field(
        default=None,
        ge=1,
        le=MAX_BACKLOG,
        description="TCP, UNIX streams: connections that may wait to be accepted.",
    )
    receive_buffer: SocketBuffer | None = Field(
        default=None,
        description="Bytes that the kernel keeps of what was not read yet.",
    )
    send_buffer: SocketBuffer | None = Field(
        default=None,
        description="Bytes that the kernel keeps of what was not sent yet.",
    )
    v6_only: bool = Field(
        default=True, description="IPv6: leave IPv4 to other listeners; false takes it as well."
    )
    stock: bool = Field(
        default=False,
        description="Streams: serve on Twisted's own transports, for code that reaches into them.",
    )

    def misfits(self, endpoint: Endpoint) -> Iterator[tuple[str, str]]:
        """The options given that `endpoint` does not have, each with what has them."""
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
    """One port of a service; just its endpoint as a string says the same with all else left out."""

    model_config = _TABLE

    endpoint: EndpointText = Field(description=ENDPOINT_SCHEMA["description"])
    protocol: str | None = Field(
        default=None, description="Which of the plugin's protocols is spoken; without it, the plugin's first."
    )
    socket: SocketOptions = Field(default=SocketOptions(), description="What is asked of the kernel.")

    @model_validator(mode="before")
    @classmethod
    def _from_endpoint(cls, value: Any) -> Any:
        if isinstance(value, (dict, Listener)):
            return value
        if isinstance(value, str):
            return {"endpoint": value}
        raise PydanticCustomError(
            "listener_type", 'Input should be an endpoint such as "tcp:7007", or a table'
        )

    @property
    def backlog(self) -> int | None:
        """Connections that may wait to be accepted, wherever that was written."""
        return self.socket.backlog or self.endpoint.backlog if self.endpoint.stream else None


class ServiceTable(BaseModel):
    """A service as it is written: a plugin, its ports, its limits and its options."""

    model_config = _TABLE

    plugin: str = Field(description="The plugin's name, or module:Class.")
    listen: tuple[Listener, ...] = Field(min_length=1, description="The ports that it is reached at.")
    limits: Limits = Field(default=Limits(), description="What differs from [limits] for this service.")
    options: dict[str, Any] = Field(default={}, description="The plugin's own keys.")


class Options(BaseModel):
    """The options of a plugin that nobody has asked about what they mean."""

    model_config = ConfigDict(frozen=True, extra="allow")


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """A service ready to be built: its limits are complete, its options are the plugin's instance."""

    name: str
    plugin: str
    listen: tuple[Listener, ...]
    limits: Limits
    options: BaseModel


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, valid, with every path absolute and the services in the order of the files."""

    daemon: Daemon
    log: Log
    limits: Limits
    services: Mapping[str, ServiceConfig]
