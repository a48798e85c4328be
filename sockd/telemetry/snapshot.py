"""The snapshot: the status of a running daemon, as JSON has it, without a word that a peer has chosen.

Written by `serving.status` and `supervisor.operator`. Read by the metrics, the status page, `sockd status`,
`top` and `ps`. A key is `NotRequired` where only one of the roles tells it. A command may have to show the
snapshot of an older daemon, which has not all the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict


class ListenerRow(TypedDict):
    """Listener of a service.

    `queue` and `backlog` count connections that wait and that may wait to be accepted; `drops` counts
    datagrams that the kernel has dropped; `certificate_expires` is in seconds since 1970. Each is None where
    the listener has none. `lost` tells that the path of a UNIX socket is gone.
    """

    address: str
    protocol: str
    lost: bool
    kind: str
    tls: bool
    queue: int | None
    backlog: int | None
    drops: int | None
    certificate_expires: float | None


class Durations(TypedDict):
    """Histogram of the durations of connections that have ended, in seconds."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


class ServiceRow(TypedDict):
    """Service, of one process or merged from several.

    Each of `counts` is an event, a reason and a number. `received` and `sent` are bytes. `alone` tells that
    one worker serves all of it, as it keeps in memory what its peers share.
    """

    name: str
    plugin: str
    state: str
    connections: int
    handshakes: int
    limits: dict[str, Any]
    counts: list[list[Any]]
    received: int
    sent: int
    datagrams_received: int
    datagrams_sent: int
    durations: Durations
    listeners: list[ListenerRow]
    alone: NotRequired[bool]


class Descriptors(TypedDict):
    """File descriptors of a process."""

    used: int
    limit: int


class OwnPortRow(TypedDict):
    """The control socket or the metrics port."""

    name: str
    address: str
    lost: bool


class BrokerRow(TypedDict):
    """Broker of a process. `state` is `connected` or `away`, `reason` is why it is away."""

    state: str
    server: str
    reason: str


class ProcessSnapshot(TypedDict):
    """Process that serves. `started` and `time` are seconds since 1970, `reactor_delay` is in seconds."""

    pid: int
    version: str
    reactor: str
    started: float
    time: float
    state: str
    descriptors: Descriptors
    timers: int
    services: list[ServiceRow]
    reactor_delay: float
    log_dropped: NotRequired[int | None]
    config_ok: NotRequired[bool]
    broker: NotRequired[BrokerRow]


class WorkerRow(ProcessSnapshot):
    """Worker of a supervisor. `worker` is its slot, or its process if another worker serves in that slot."""

    worker: str
    generation: int


class About(TypedDict):
    """Facts of a daemon's main process in either role."""

    config_ok: bool
    own_ports: list[OwnPortRow]
    log_dropped: int | None


class Snapshot(ProcessSnapshot):
    """The whole daemon; `generation` and `workers` are those of a supervisor."""

    own_ports: NotRequired[list[OwnPortRow]]
    generation: NotRequired[int]
    workers: NotRequired[list[WorkerRow]]


class ConnectionRow(TypedDict):
    """Connection, as `ps` lists it. `age` and `idle` are in seconds, `received` and `sent` in bytes."""

    id: str
    service: str
    peer: str
    listener: str
    age: float
    idle: float
    received: int
    sent: int
    state: str
