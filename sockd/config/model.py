"""Tables of the configuration file and their keys; each description is the key's documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sockd.config.broker import Broker
from sockd.config.control import Control
from sockd.config.limits import Limits
from sockd.config.listen import Listener
from sockd.config.metrics import Metrics
from sockd.config.written import Duration, DurationOrOff, FilePath, Size, SomeTime

_TABLE = ConfigDict(frozen=True, extra="forbid")


MAX_WORKERS = 64
"""Workers: more than the cores of the machines that such a daemon runs on."""


class Daemon(BaseModel):
    """The process as a whole."""

    model_config = _TABLE

    workers: int = Field(
        default=0,
        ge=0,
        le=MAX_WORKERS,
        description="Number of worker processes; 0 serves inside the twistd process.",
    )
    state_dir: FilePath = Field(
        default="state",
        description="Folder for the state that services keep.",
        validate_default=True,
    )
    include: tuple[str, ...] = Field(
        default=(), description="Further files, with wildcards, in sorted order; they hold only services."
    )
    watch: bool = Field(default=False, description="Whether a change of the files causes a reload.")
    start_timeout: SomeTime = Field(
        default="30s",
        validate_default=True,
        description="Time for the start of each plugin, at the start of the daemon and at a reload.",
    )
    drain_timeout: Duration = Field(
        default="30s",
        validate_default=True,
        description="Time for connections to end after the daemon was told to stop.",
    )
    max_unread_output: Annotated[Size, Field(ge=1)] = Field(
        default="256MiB",
        validate_default=True,
        description="Bytes of output that all peers together may leave unread.",
    )
    watchdog: DurationOrOff = Field(
        default="250ms",
        validate_default=True,
        description="Time for which a plugin may block the reactor before the log shows its stack.",
    )


class Log(BaseModel):
    """The log of events."""

    model_config = _TABLE

    format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description='Format of events: "console" for people, "json" with one object a line, or "auto": '
        "console on a terminal, else json.",
    )
    level: Literal["debug", "info", "warn", "error"] = Field(
        default="info",
        description='Lowest level of events that are written: "debug", "info", "warn" or "error".',
    )
    file: FilePath | None = Field(
        default=None, description="File to which events are appended, in place of standard output."
    )


class ServiceTable(BaseModel):
    """Service as it is written: a plugin, its ports, its limits and its options."""

    model_config = _TABLE

    plugin: str = Field(description="The plugin's name, or module:Class.")
    enabled: bool = Field(
        default=True, description="Whether the service is served; a disabled one is checked all the same."
    )
    listen: tuple[Listener, ...] = Field(min_length=1, description="Listeners of the service.")
    limits: Limits = Field(default=Limits(), description="Limits of this service that differ from [limits].")
    options: dict[str, Any] = Field(default={}, description="Options of the plugin.")


class Options(BaseModel):
    """Options of a plugin whose class was not asked for."""

    model_config = ConfigDict(frozen=True, extra="allow")


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Service ready to be built: its limits are complete, its options are the plugin's instance."""

    name: str
    plugin: str
    listen: tuple[Listener, ...]
    limits: Limits
    options: BaseModel
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """Configuration as a whole, valid, with every path absolute and the services in the order of the files.

    Attributes:
        services: those that are served.
        disabled: the names of those that are not.
    """

    daemon: Daemon
    log: Log
    limits: Limits
    services: Mapping[str, ServiceConfig]
    control: Control
    metrics: Metrics
    broker: Broker = field(default_factory=Broker)
    disabled: tuple[str, ...] = ()
