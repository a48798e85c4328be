"""Configuration of the daemon of a soak: two versions that reloads alternate, and a faulty one."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.certificate import CERTIFICATE, KEY, Identity
from benchmarks.processes import HOST

HOST_6 = "::1"

FILE, CONTROL, LOG = "sockd.toml", "run/control.sock", "log"

PORTS = (
    *("echo", "tls", "proxied", "proxied-tls", "upper", "time", "banner", "big", "pressed", "discard"),
    *("desk", "chat", "upload", "raw", "few", "tarpit", "hurried", "extra", "metrics", "trusted"),
)
"""Names of TCP ports; services with datagrams have the same number for UDP, and over IPv6."""

CLIENT, CLIENT_KEY = "client.pem", "client.key"
"""Certificate and key of a client of `trusted`; the certificate is its own authority."""

STRANGER, STRANGER_KEY = "stranger.pem", "stranger.key"
"""Certificate and key that `trusted` does not accept."""

TEXTS = ("this is the first text", "this is the second text")
"""Texts of the service `banner`, by version."""

BIG = bytes(range(256)) * 2048
"""Text of the service `big`, 512 KiB: more than the kernel keeps for a peer that does not read."""

PER_SOURCE = 3
"""Connections that `few` and `tarpit` allow to one source."""

REFUSAL = "no more of you"
"""Line that `few` sends to a refused peer."""

DENIED = "127.0.9.9"
"""Address that is denied."""

VERSIONS = 2

DRAIN_TIMEOUT = 5.0
"""Seconds that connections may go on when the daemon, or their worker, ends."""

CANDIDATES = range(20_000, 32_000)
"""Ports that the kernel gives to no client, so that a reload can open them."""


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses and files of a soak.

    Attributes:
        folder: of the configuration, the sockets and the log.
        ports: by name.
        workers: processes that serve; 0 for a single process.
    """

    folder: Path
    ports: Mapping[str, int]
    workers: int

    @classmethod
    def prepare(cls, folder: Path, workers: int) -> Places:
        """Choose ports, and write the files of the configuration and its first version."""
        free = (port for port in random.sample(CANDIDATES, len(CANDIDATES)) if _is_free(port))
        places = cls(folder, dict(zip(PORTS, free, strict=False)), workers)
        Identity().write(folder)
        Identity().write(folder, CLIENT, CLIENT_KEY)
        Identity().write(folder, STRANGER, STRANGER_KEY)
        (folder / "big").write_bytes(BIG)
        places.write(0)
        return places

    def write(self, version: int) -> None:
        """Write a version into the file."""
        (self.folder / FILE).write_text(_text(self.ports, self.workers, version))

    def write_faulty(self) -> None:
        """Write a text that cannot be served into the file."""
        faulty = _text(self.ports, self.workers, 0).replace('plugin = "upper"', 'plugin = "uper"')
        (self.folder / FILE).write_text(faulty)


def _is_free(port: int) -> bool:
    for family, host in ((socket.AF_INET, HOST), (socket.AF_INET6, HOST_6)):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(family, kind) as probe:
                try:
                    probe.bind((host, port))
                except OSError:
                    return False
    return True


def _text(ports: Mapping[str, int], workers: int, version: int) -> str:
    # Long because it is one text: the whole configuration can be read in one place.
    def tcp(name: str) -> str:
        return f'"tcp:{ports[name]}:interface=127.0.0.1"'

    def udp(name: str) -> str:
        return f'"udp:{ports[name]}:interface=127.0.0.1"'

    def both(name: str) -> str:
        six = (f'"{kind}:{ports[name]}:interface=[{HOST_6}]"' for kind in ("tcp6", "udp6"))
        return ", ".join((tcp(name), udp(name), *six))

    pair = f'certificate = "{CERTIFICATE}", key = "{KEY}"'
    tls = f"tls = {{ {pair} }}"
    proxy = 'proxy_protocol = { trust = ["127.0.0.1"] }'
    common = f"""
[daemon]
workers = {workers}
drain_timeout = "{DRAIN_TIMEOUT:g}s"
[log]
file = "{LOG}"
format = "json"
[control]
listen = "unix:{CONTROL}"
[metrics]
listen = {tcp("metrics")}
[limits]
max_connections = 2000
max_per_source = 500
connection_rate = "2000/s"
connection_rate_per_source = "1000/s"
datagram_rate_per_source = "1000/s"
deny = ["{DENIED}"]
idle_timeout = "20s"
handshake_timeout = "3s"
header_timeout = "3s"
close_timeout = "2s"
max_unread_output = "1MiB"

[service.echo]
plugin = "echo"
listen = [
  {both("echo")}, "unix:run/echo.sock", "unixgram:run/echo-datagrams.sock",
  {{ endpoint = {tcp("tls")}, {tls} }},
  {{ endpoint = "tcp6:{ports["tls"]}:interface=[{HOST_6}]", {tls} }},
  {{ endpoint = {tcp("trusted")}, tls = {{ {pair}, client_ca = "{CLIENT}" }} }},
  {{ endpoint = {tcp("proxied")}, {proxy} }},
  {{ endpoint = {tcp("proxied-tls")}, {tls}, {proxy} }},
]
[service.upper]
plugin = "upper"
listen = [{both("upper")}, "unix:run/upper.sock"]
limits.max_connections = {(2000, 1500)[version]}
[service.time]
plugin = "time"
listen = [{both("time")}{("", ', "unix:run/time.sock"')[version]}]
[service.banner]
plugin = "banner"
listen = [{tcp("banner")}, {udp("banner")}]
options.text = "{TEXTS[version]}"
[service.big]
plugin = "banner"
listen = [{{ endpoint = {tcp("big")}, socket.send_buffer = "64KiB" }}]
options.file = "big"
[service.pressed]
plugin = "echo"
listen = [{{ endpoint = {tcp("pressed")}, socket = {{ send_buffer = "64KiB", receive_buffer = "64KiB" }} }}]
limits.idle_timeout = "5s"
[service.discard]
plugin = "factory"
listen = [{tcp("discard")}]
options.factory = "twisted.protocols.wire:Discard"
[service.desk]
plugin = "desk"
listen = [{tcp("desk")}, {{ endpoint = "unix:run/operator.sock:mode=600", protocol = "operator" }}]
[service.chat]
plugin = "chat"
listen = [{tcp("chat")}, {udp("chat")}, "unix:run/chat.sock"]
options.silence = "20s"
[service.files]
plugin = "files"
listen = [
  {{ endpoint = {tcp("upload")}, protocol = "upload" }},
  {{ endpoint = {tcp("raw")}, protocol = "raw" }},
]
options.directory = "received"
[service.few]
plugin = "echo"
listen = [{tcp("few")}]
[service.few.limits]
max_per_source = {PER_SOURCE}
over_limit = "banner"
over_limit_banner = "{REFUSAL}"
penalty = "2s"
[service.tarpit]
plugin = "echo"
listen = [{tcp("tarpit")}]
limits = {{ max_per_source = {PER_SOURCE}, over_limit = "tarpit", tarpit_time = "3s" }}
[service.hurried]
plugin = "echo"
listen = [{tcp("hurried")}]
limits = {{ first_message_timeout = "3s", idle_timeout = "4s", lifetime = "8s" }}
"""
    extra = f"""
[service.extra]
plugin = "echo"
listen = [{tcp("extra")}]
"""
    return common + (extra if version else "")
