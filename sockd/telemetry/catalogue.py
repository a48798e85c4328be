"""Catalogue of log events: the name, level, fields and meaning of each event that sockd writes.

An event is an event of twisted.logger whose format is its name and whose other keys are its fields; `logs`
renders it. `docs/events.md` is generated from this file.

Levels by audience: debug reports single connections, info is for a person who watches the daemon, warn needs
the operator, error needs the author of a plugin, critical is a fault of sockd itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

Kind = type[str] | type[int] | type[float] | type[list]  # type: ignore[type-arg]
"""Type of a field's value; a list is one of texts."""


@dataclass(frozen=True, slots=True)
class Field:
    """Field of an event.

    Attributes:
        kind: type of the value.
        meaning: description for the operator.
        unit: unit of a number; empty for a plain count or a text.
        optional: some events of this name lack the field.
    """

    kind: Kind
    meaning: str
    unit: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Kind of event.

    Attributes:
        name: text by which operators find it.
        level: level of twisted.logger.
        meaning: description for the operator.
        fields: fields by name, in the order in which they are written.
        fails: the event carries an exception, shown as the fields `error` and `traceback`.
    """

    name: str
    level: Any
    meaning: str
    fields: Mapping[str, Field]
    fails: bool = False

    def write(self, log: Logger, /, **fields: object) -> None:
        """Write the event with these fields."""
        log.emit(self.level, self.name, **fields)

    def write_failure(self, log: Logger, failure: Failure | None = None, /, **fields: object) -> None:
        """Write the event with an exception: this one, or the one that is being handled."""
        log.failure(self.name, failure, self.level, **fields)


EVENTS: dict[str, Event] = {}
"""Events by name."""


def _event(name: str, level: Any, meaning: str, /, *, fails: bool = False, **fields: Field) -> Event:
    """Declare an event."""
    event = Event(name, level, meaning, MappingProxyType(fields), fails)
    EVENTS[name] = event
    return event


def _optional(field: Field) -> Field:
    return replace(field, optional=True)


_ADDRESS = Field(str, "address of the socket as an endpoint, with its real port")
_ALIKE = Field(int, "events of the same kind that were counted instead of written", optional=True)
_BLOCKED = Field(float, "time without a turn of the reactor", "s")
_CUT = Field(int, "connections that were aborted at `drain_timeout`")
_DRAIN_TIMEOUT = Field(float, "time that connections have to finish", "s")
_GENERATION = Field(int, "number of the generation of workers; an upgrade adds one")
_HOW = Field(str, "exit code or signal of the process")
_ID = Field(int, "number of the connection, as `sockd ps` shows it")
_PEER = Field(str, "address of the peer")
_PID = Field(int, "process id of the worker")
_PLACE = Field(str, "innermost line of a plugin: `FILE:LINE in FUNCTION`")
_PROTOCOL = Field(str, "name of the plugin's protocol at this listener")
_REACTOR = Field(str, "class of the reactor")
_REASON = Field(str, "cause, in one line")
_RETRY = Field(float, "time until the next attempt", "s")
_SERVICES = Field(int, "services that are served")
_WHAT = Field(str, "port of the daemon: `control` or `metrics`")
_WORKER = Field(int, "number of the worker's place, from 0")

# The life of the daemon.

SERVING = _event(
    "serving", LogLevel.info, "A port of the daemon itself is open.", what=_WHAT, address=_ADDRESS
)
UNREACHABLE = _event(
    "unreachable",
    LogLevel.error,
    "The path of a port of the daemon itself is gone, and the port cannot be opened again.",
    what=_WHAT,
    address=_ADDRESS,
    reason=_REASON,
)
LISTENING = _event(
    "listening", LogLevel.info, "A listener of a service is open.", address=_ADDRESS, protocol=_PROTOCOL
)
READY = _event(
    "ready",
    LogLevel.info,
    "All listeners are open; with workers, all workers serve.",
    services=_SERVICES,
    listeners=Field(int, "listeners that are open"),
    reactor=_REACTOR,
    workers=Field(int, "workers that serve", optional=True),
)
REACTOR_FALLBACK = _event(
    "reactor fallback",
    LogLevel.info,
    "The reactor on uvloop cannot be used; Twisted's own reactor serves.",
    reason=_REASON,
)
RELOADED = _event(
    "reloaded",
    LogLevel.info,
    "Another configuration is in force. A kind of change without services is left out.",
    keep=Field(list, "services without a change", optional=True),
    limits=Field(list, "services with other limits", optional=True),
    listeners=Field(list, "services of which listeners open or close", optional=True),
    restart=Field(list, "services with a new instance of the plugin", optional=True),
    add=Field(list, "services that are new", optional=True),
    remove=Field(list, "services that are gone and drain", optional=True),
    later=Field(list, "keys that have changed and are read at the start of the daemon only", optional=True),
)
NOT_RELOADED = _event(
    "not reloaded", LogLevel.error, "A configuration was refused; nothing has changed.", reason=_REASON
)
NOT_UPGRADED = _event(
    "not upgraded", LogLevel.error, "An upgrade failed; the code is the same as before.", reason=_REASON
)
STOPPING = _event(
    "stopping",
    LogLevel.info,
    "The daemon accepts no more peers and drains.",
    connections=Field(int, "connections that are open, without workers", optional=True),
    workers=Field(int, "workers that drain, with workers", optional=True),
    drain_timeout=_DRAIN_TIMEOUT,
)
STOPPED = _event("stopped", LogLevel.info, "The last connection has ended.", cut=_CUT)
DESCRIPTORS_SHORT = _event(
    "file descriptors short",
    LogLevel.warn,
    "Nearly all file descriptors are used; accepting pauses.",
    limit=Field(int, "file descriptors that the process may have"),
    alike=_ALIKE,
)
REACTOR_BLOCKED = _event(
    "reactor blocked",
    LogLevel.warn,
    "The reactor serves no peer, because a callback does not return.",
    blocked=_BLOCKED,
    place=_PLACE,
    stack=Field(str, "frames of the stack, innermost first; empty if one was shown in the last second"),
)
REACTOR_FREE = _event(
    "reactor free again",
    LogLevel.warn,
    "The callback that blocked the reactor has returned.",
    blocked=_BLOCKED,
    place=_PLACE,
)
LINES_DROPPED = _event(
    "log lines dropped",
    LogLevel.warn,
    "The log could not be written for a while, and its queue was full.",
    count=Field(int, "lines that were dropped since the last such event"),
)
LOG_NOT_REOPENED = _event(
    "log not reopened",
    LogLevel.warn,
    "The log file cannot be opened again after SIGUSR1; the old file is written on.",
    reason=_REASON,
)

BROKER_CONNECTED = _event(
    "broker connected",
    LogLevel.info,
    "The broker stores what is published, and delivers it.",
    server=Field(str, "server in use, as an address"),
)
BROKER_AWAY = _event(
    "broker away",
    LogLevel.warn,
    "The broker cannot be reached, or does not store; services refuse what they would publish.",
    reason=_REASON,
)
BROKER_FAULT = _event(
    "broker fault",
    LogLevel.critical,
    "The client of the broker has failed; it connects again. This is a fault of sockd.",
    fails=True,
)

# Services and their peers. The log names the service beside the event.

OPENED = _event("connection opened", LogLevel.debug, "The plugin has got a connection.", peer=_PEER, id=_ID)
CLOSED = _event(
    "connection closed",
    LogLevel.debug,
    "A connection has ended.",
    peer=_PEER,
    id=_ID,
    reason=Field(str, "cause of the end, as `sockd_connections_closed_total` counts it"),
    duration=Field(float, "time since it was opened", "s"),
    received=Field(int, "bytes from the peer", "bytes"),
    sent=Field(int, "bytes to the peer", "bytes"),
)
REFUSED = _event(
    "connection refused",
    LogLevel.warn,
    "A connection was closed before the plugin got it.",
    reason=Field(str, "limit or fault, as `sockd_connections_refused_total` counts it"),
    peer=_PEER,
    alike=_ALIKE,
)
DROPPED = _event(
    "datagram dropped",
    LogLevel.info,
    "A datagram was not delivered to the plugin, or an answer was not sent.",
    reason=Field(str, "limit or fault, as `sockd_datagrams_dropped_total` counts it"),
    peer=_optional(_PEER),
    alike=_ALIKE,
)
PLUGIN_FAULT = _event(
    "plugin fault",
    LogLevel.error,
    "A callback of the plugin raised. Its connection is aborted; a datagram port stays open.",
    fails=True,
    callback=Field(str, "name of the callback"),
    peer=_optional(_PEER),
    alike=_ALIKE,
)
CERTIFICATES_LOADED = _event(
    "certificates loaded", LogLevel.info, "A listener shows new certificates from now on.", address=_ADDRESS
)
CERTIFICATES_FAULTY = _event(
    "certificates faulty",
    LogLevel.warn,
    "Files of certificates have changed and cannot be used; the earlier certificates stay.",
    address=_ADDRESS,
    reason=_REASON,
    alike=_ALIKE,
)

# Workers, in the log of the supervisor.

RUNS_ALONE = _event(
    "service runs in one worker",
    LogLevel.info,
    "The plugin keeps shared state in memory, so that a single worker serves it.",
    name=Field(str, "name of the service"),
)
WORKER_STARTED = _event(
    "worker started",
    LogLevel.info,
    "A worker serves in the place of another one.",
    worker=_WORKER,
    worker_pid=_PID,
    generation=_GENERATION,
)
WORKER_ENDED = _event(
    "worker ended",
    LogLevel.error,
    "A worker has ended that was not told to; another one takes its place.",
    worker=_WORKER,
    worker_pid=_PID,
    how=_HOW,
)
WORKER_LEFT = _event(
    "worker left",
    LogLevel.info,
    "A worker has ended that was told to.",
    worker=_WORKER,
    worker_pid=_PID,
    how=_HOW,
)
WORKER_HANGS = _event(
    "worker hangs",
    LogLevel.error,
    "A worker does not answer; it is killed and replaced.",
    worker=_WORKER,
    worker_pid=_PID,
)
WORKER_NOT_STARTED = _event(
    "worker not started",
    LogLevel.error,
    "A worker could not start; the next attempt follows.",
    worker=_WORKER,
    reason=_REASON,
    again_in=_RETRY,
)
NO_SPARE = _event(
    "no spare worker",
    LogLevel.warn,
    "The spare worker could not load everything; the next attempt follows.",
    reason=_REASON,
    again_in=_RETRY,
)
UPGRADED = _event("upgraded", LogLevel.info, "Workers with new code serve.", generation=_GENERATION)
SUPERVISOR_REPLACED = _event(
    "supervisor replaced",
    LogLevel.info,
    "The process of the supervisor runs new code.",
    version=Field(str, "version of sockd"),
)

# Faults of sockd itself. Each is a bug to report.

REQUEST_FAULT = _event(
    "request fault", LogLevel.critical, "A reload or an upgrade by signal raised.", fails=True
)
CONTROL_FAULT = _event(
    "control fault", LogLevel.critical, "A command of the control socket raised.", fails=True
)
PAGE_FAILED = _event(
    "status page failed",
    LogLevel.critical,
    "A page of the metrics port raised; it is written once until a page succeeds.",
    fails=True,
    path=Field(str, "path of the page", optional=True),
)
CHANNEL_FAULT = _event(
    "channel fault", LogLevel.critical, "A message between supervisor and worker raised.", fails=True
)
CALL_FAULT = _event(
    "call fault",
    LogLevel.critical,
    "A call between supervisor and worker raised.",
    fails=True,
    command=Field(str, "name of the call"),
)
