"""Servers of the zoo: sockd with the limits that an operator sets, and plain Twisted without limits."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.certificate import CERTIFICATE, KEY, Identity
from benchmarks.processes import free_ports, serving
from benchmarks.zoo.target import KINDS, Kind, Target

Name = Literal["sockd", "twisted"]

BIN = Path(sys.executable).parent

IDLE, CLOSE = 4.0, 1.0
"""Seconds of the deadlines. Short, so that they pass within a trial of six seconds."""

MOST, UNREAD = 1200, 32 * 2**20
"""Connections of a service, and bytes that all peers may leave unread."""

LIMITS = f"""
max_connections = {MOST}
max_per_source = 64
connection_rate_per_source = "100/s"
datagram_rate_per_source = "1000/s"
handshake_timeout = "3s"
header_timeout = "3s"
first_message_timeout = "3s"
idle_timeout = "{IDLE:g}s"
close_timeout = "{CLOSE:g}s"
max_unread_output = "256KiB"
"""

PLUGINS: Mapping[Kind, str] = {"tls": "echo", "proxy": "echo", "udp": "echo", "lines": "factory"}
"""Plugins of the services that have another name."""

OPTIONS: Mapping[Kind, str] = {
    "lines": 'options.factory = "benchmarks.zoo.line_echo:LineEcho"',
    "files": 'options.directory = "received"',
}


@dataclass(frozen=True, slots=True)
class Zoo:
    """Running server, with all its ports."""

    pid: int
    ports: Mapping[Kind, int]
    log: Path

    def target(self, kind: Kind) -> Target:
        """Return the port of one service."""
        return Target(kind, self.ports[kind])


@contextmanager
def running(name: Name, folder: Path, core: int) -> Iterator[Zoo]:
    """Start the server on a core of its own, and end it."""
    Identity().write(folder)
    free = free_ports(*("udp" if kind == "udp" else "tcp" for kind in KINDS))
    ports = dict(zip(KINDS, free, strict=True))
    words = (_sockd if name == "sockd" else _twisted)(folder, ports)
    log = folder / "log"
    with serving(words, "tcp", ports["echo"], core, log) as server:
        yield Zoo(server.pid, ports, log)


def left_open(log: Path) -> int | None:
    """Return the connections that sockd counted when it was stopped; None if it did not end in order."""
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    told = {event.get("event"): event for event in events}
    return int(told["stopping"]["connections"]) if "stopped" in told else None


def text(ports: Mapping[Kind, int]) -> str:
    """Return the text of the configuration."""
    lines = ["[daemon]", f'drain_timeout = "2s"\nmax_unread_output = {UNREAD}', "[limits]", LIMITS]
    for kind, port in ports.items():
        lines += [
            f"[service.{kind}]",
            f'plugin = "{PLUGINS.get(kind, kind)}"',
            f"listen = [{_listener(kind, port)}]",
        ]
        lines += [OPTIONS.get(kind, "")]
    return "\n".join(lines) + "\n"


def _listener(kind: Kind, port: int) -> str:
    endpoint = f'"{"udp" if kind == "udp" else "tcp"}:{port}:interface=127.0.0.1"'
    match kind:
        case "tls":
            return f'{{ endpoint = {endpoint}, tls = {{ certificate = "{CERTIFICATE}", key = "{KEY}" }} }}'
        case "proxy":
            return f'{{ endpoint = {endpoint}, proxy_protocol = {{ trust = ["127.0.0.0/8"] }} }}'
    return endpoint


def _sockd(folder: Path, ports: Mapping[Kind, int]) -> list[str]:
    file = folder / "zoo.toml"
    file.write_text(text(ports))
    return [f"{BIN}/twistd", "--nodaemon", "--pidfile=", "sockd", "-c", str(file)]


def _twisted(_: Path, ports: Mapping[Kind, int]) -> list[str]:
    return [sys.executable, "-m", "benchmarks.zoo.plain", *(f"{kind}={port}" for kind, port in ports.items())]
