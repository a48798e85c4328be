"""Scenarios of the measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Protocol = Literal["tcp", "tls", "udp", "chat", "lines"]
"""Protocols of a server; `lines` is no server but a framer in a process of its own."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Size of one measurement."""

    seconds: float
    connects: int
    bursts: int
    held: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Measurement of one server, in seconds and bytes."""

    count: int
    seconds: float
    server_cpu: float
    load_cpu: float
    p50: float
    p99: float
    grown: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """Task for every server that speaks `protocol`.

    Args:
        key: its short name.
        title: its description.
        short: the heading of its column.
        protocol: of the servers.
        load: arguments of the load program (`load.c`), without the address of the server.
        cost: the compared figure, in `unit`; less is better.
        rate: the figure that a user sees, in `rate_unit`.
        floor: the key of the server that nothing in user space can beat, if there is one.
        stock: the key of the server that users of Twisted have today.
        fresh: whether each server must not have served anything before.
    """

    key: str
    title: str
    short: str
    protocol: Protocol
    load: Callable[[Effort], tuple[object, ...]]
    cost: Callable[[Sample], float]
    unit: str
    rate: Callable[[Sample], float] = lambda sample: sample.count / sample.seconds / 1000
    rate_unit: str = "k/s"
    floor: str = "c"
    stock: str = "twisted-epoll"
    fresh: bool = False

    @property
    def reference(self) -> str:
        """Key of the server that all others are compared with."""
        return self.floor or self.stock


def _cpu(sample: Sample) -> float:
    return sample.server_cpu / sample.count * 1e6


def _nanoseconds(sample: Sample) -> float:
    return sample.server_cpu / sample.count * 1e9


def _gigabytes(sample: Sample) -> float:
    return sample.count * BULK / sample.seconds / 1e9


BULK = 65_536

TLS_SHARE = 5
"""Factor by which fewer TLS connections are made: one takes about ten times as long as a plain one."""

CPU_PER_MESSAGE = "µs CPU/message"

MEMBERS = 100
"""Members of a chat room."""


def _chat(key: str, flight: int, title: str) -> Scenario:
    deliveries = (MEMBERS - 1) * flight  # for each count
    return Scenario(
        key=key,
        title=f"Chat room of {MEMBERS} members, lines of 64 B, {title}",
        short=f"chat, {flight} in flight, µs",
        protocol="chat",
        load=lambda effort: ("chat", 64, MEMBERS, flight, effort.seconds),
        cost=lambda sample: sample.server_cpu / sample.count / deliveries * 1e6,
        unit="µs CPU/delivery",
        rate=lambda sample: sample.count * deliveries / sample.seconds / 1000,
        floor="",
        fresh=True,
    )


MORE_MEMBERS = 400
"""Members whose memory is measured."""


SCENARIOS = (
    Scenario(
        key="tcp-1k",
        title="TCP echo, 50 connections, 1 KiB",
        short="TCP 50 x 1 KiB, µs",
        protocol="tcp",
        load=lambda effort: ("echo", 1024, 50, effort.seconds),
        cost=_cpu,
        unit=CPU_PER_MESSAGE,
    ),
    Scenario(
        key="tcp-64",
        title="TCP echo, 500 connections, 64 B",
        short="TCP 500 x 64 B, µs",
        protocol="tcp",
        load=lambda effort: ("echo", 64, 500, effort.seconds),
        cost=_cpu,
        unit=CPU_PER_MESSAGE,
    ),
    Scenario(
        key="tcp-64k",
        title="TCP echo, 50 connections, 64 KiB",
        short="TCP 50 x 64 KiB, µs",
        protocol="tcp",
        load=lambda effort: ("echo", BULK, 50, effort.seconds),
        cost=_cpu,
        unit=CPU_PER_MESSAGE,
        rate=_gigabytes,
        rate_unit="GB/s",
    ),
    Scenario(
        key="udp-256",
        title="UDP echo, 50 sockets, 256 B",
        short="UDP 50 x 256 B, µs",
        protocol="udp",
        load=lambda effort: ("echo", 256, 50, effort.seconds),
        cost=_cpu,
        unit=CPU_PER_MESSAGE,
    ),
    Scenario(
        key="connect",
        title="Connect, one message of 64 B, close; 50 at once",
        short="connection, µs",
        protocol="tcp",
        load=lambda effort: ("connect", 64, 50, effort.connects),
        cost=_cpu,
        unit="µs CPU/connection",
    ),
    Scenario(
        key="accept",
        title="100 new connections while 100 are busy, until the last is served",
        short="100 accepts, ms",
        protocol="tcp",
        load=lambda effort: ("accept", 1024, 100, 100, effort.bursts),
        cost=lambda sample: sample.p50 * 1e3,
        unit="ms",
        rate=lambda sample: 100 / sample.p50 / 1000,
    ),
    Scenario(
        key="idle",
        title="Idle connections, each after one message of 64 B",
        short="idle connection, kB",
        protocol="tcp",
        load=lambda effort: ("hold", 64, effort.held),
        cost=lambda sample: sample.grown / sample.count / 1000,
        unit="kB/connection",
        floor="",
        fresh=True,
    ),
    Scenario(
        key="tls-64",
        title="TLS echo, 50 connections, 64 B",
        short="TLS 50 x 64 B, µs",
        protocol="tls",
        load=lambda effort: ("echo", 64, 50, effort.seconds),
        cost=_cpu,
        unit=CPU_PER_MESSAGE,
        floor="",
    ),
    Scenario(
        key="tls-64k",
        title="TLS echo, 50 connections, 64 KiB",
        short="TLS 50 x 64 KiB, µs",
        protocol="tls",
        load=lambda effort: ("echo", BULK, 50, effort.seconds),
        cost=_cpu,
        unit=CPU_PER_MESSAGE,
        rate=_gigabytes,
        rate_unit="GB/s",
        floor="",
    ),
    Scenario(
        key="tls-connect",
        title="TLS handshake in full, one message of 64 B, close; 50 at once",
        short="TLS connection, µs",
        protocol="tls",
        load=lambda effort: ("connect", 64, 50, effort.connects // TLS_SHARE),
        cost=_cpu,
        unit="µs CPU/connection",
        rate=lambda sample: sample.count / sample.seconds,
        rate_unit="1/s",
        floor="",
    ),
    _chat("chat-20", 20, "20 of one member in flight"),
    _chat("chat-1", 1, "one at a time"),
    Scenario(
        key="chat-members",
        title=f"{MORE_MEMBERS:,} more members enter a room of 20",
        short="member of a chat, kB",
        protocol="chat",
        load=lambda _: ("members", 64, MORE_MEMBERS),
        cost=lambda sample: sample.grown / sample.count / 1000,
        unit="kB/member",
        floor="",
        fresh=True,
    ),
    Scenario(
        key="lines",
        title="Lines of 64 B in reads of 64 KiB",
        short="line, ns",
        protocol="lines",
        load=lambda effort: (64, effort.seconds),
        cost=_nanoseconds,
        unit="ns CPU/line",
        rate=lambda sample: sample.count / sample.seconds / 1e6,
        rate_unit="M/s",
        floor="",
        stock="line-only-receiver",
    ),
)
