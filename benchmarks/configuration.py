"""Configurations of sockd: echo, plain or over TLS, or chat, with defaults or with every limit on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.certificate import CERTIFICATE, KEY
from benchmarks.scenarios import Protocol
from sockd import discovery
from sockd.config import load
from sockd.errors import ConfigError

EVERY_LIMIT = {
    "max_connections": "15_000",
    "max_per_source": "20_000",
    "allow": '["127.0.0.0/8", "10.0.0.0/8", "::1/128"]',
    "deny": '["127.255.0.0/16", "192.0.2.0/24"]',
    "connection_rate": '"1000000/s"',
    "connection_rate_per_source": '"1000000/s"',
    "datagram_rate": '"10000000/s"',
    "datagram_rate_per_source": '"10000000/s"',
    "penalty": '"60s"',
    "first_message_timeout": '"30s"',
    "idle_timeout": '"10m"',
    "lifetime": '"1h"',
    "max_unread_output": '"1MiB"',
}
"""Limits that are checked for a connection or a message, each at a value that the load does not reach.

`bytes_per_second` is not among them, because it would change the measured rate.
"""


_SPOKEN: Mapping[str, str] = {"lines": "", "irc": "irc", "web": "web"}
"""Protocol of the listener of a chat, by the wire; the first one has no name yet in older versions."""


def listener(protocol: Protocol, port: int, wire: str) -> str:
    """Return one listener as `listen` has it."""
    kind = "udp" if protocol == "udp" else "tcp"
    endpoint = f'"{kind}:{port}:interface=127.0.0.1"'
    if protocol == "chat" and _SPOKEN[wire]:
        return f'{{ endpoint = {endpoint}, protocol = "{_SPOKEN[wire]}" }}'
    if protocol != "tls":
        return endpoint
    return f'{{ endpoint = {endpoint}, tls = {{ certificate = "{CERTIFICATE}", key = "{KEY}" }} }}'


def text(protocol: Protocol, port: int, limits: Mapping[str, str], wire: str = "lines") -> str:
    """Return the text of the file; `wire` is that of a chat."""
    name = "chat" if protocol == "chat" else "echo"
    lines = [f"[service.{name}]", f'plugin = "{name}"', f"listen = [{listener(protocol, port, wire)}]"]
    if protocol == "chat":  # nobody is held back, and all members come from one address
        lines += [
            "options = { rate = 1000, burst = 1000, max_members = 2000 }",
            "limits.max_per_source = 20_000",
        ]
    lines += [f"limits.{key} = {value}" for key, value in limits.items() if f"limits.{key} " not in lines[-1]]
    return "\n".join(lines) + "\n"


def refusal(protocol: Protocol, limits: Mapping[str, str], wire: str = "lines") -> str:
    """Say why this version of sockd refuses such a configuration; empty if it accepts it."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "sockd.toml")
        file.write_text(text(protocol, 1, limits, wire))
        try:
            load(file, discovery.find)
        except ConfigError as error:
            return error.faults[0].message
    return ""
