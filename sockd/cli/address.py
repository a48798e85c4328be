"""Where a client connects to, from one word: `tcp:7007`, `tcp:HOST:7007`, `HOST:7007`, `unix:PATH` …"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any, Literal

import click
from typing_extensions import override

from sockd.endpoint import InetEndpoint, SystemdEndpoint, UnixEndpoint
from sockd.endpoint import parse as parse_endpoint
from sockd.errors import ValueFault

_HOST_AND_PORT = re.compile(r"(?:(tcp|udp)6?:)?(?:\[([^\]]+)\]|([^:=/\s]+)):(\d{1,5})")

Kind = Literal["tcp", "udp", "unix", "unixgram"]


@dataclass(frozen=True, slots=True)
class Address:
    """A service's address, as a client sees it."""

    kind: Kind
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def stream(self) -> bool:
        """Whether it takes connections rather than datagrams."""
        return self.kind in ("tcp", "unix")

    def __str__(self) -> str:
        if self.path:
            return f"{self.kind}:{self.path}"
        return f"{self.kind}:{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def connect(self, timeout: float | None = None) -> socket.socket:
        """A socket that is connected to it; of datagram sockets one that can be answered.

        Raises:
            OSError: it cannot be reached.
        """
        if self.kind == "tcp":
            return socket.create_connection((self.host, self.port), timeout)
        target: Any
        if self.kind == "udp":
            family, kind, protocol, _, target = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_DGRAM
            )[0]
            sock = socket.socket(family, kind, protocol)
        else:
            sock = socket.socket(
                socket.AF_UNIX, socket.SOCK_STREAM if self.kind == "unix" else socket.SOCK_DGRAM
            )
            target = self.path
            if self.kind == "unixgram":
                sock.bind("")  # the kernel finds an abstract name, to which the service can answer
        try:
            sock.settimeout(timeout)
            sock.connect(target)
        except OSError:
            sock.close()
            raise
        return sock


def parse(text: str) -> Address:
    """Read a client's address; the daemon's endpoint strings are understood too.

    Raises:
        ValueFault: it is none.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    if match and match[3] not in ("tcp", "tcp6", "udp", "udp6") and int(match[4]) <= 65535:
        kind: Any = match[1] or "tcp"
        return Address(kind, match[2] or match[3], int(match[4]))
    try:
        endpoint = parse_endpoint(text)
    except ValueFault as fault:
        raise ValueFault("an address such as tcp:7007, HOST:7007 or unix:PATH", fault.found) from None
    if isinstance(endpoint, SystemdEndpoint):
        raise ValueFault("the address that the socket unit has", repr(text))
    if isinstance(endpoint, UnixEndpoint):
        return Address(endpoint.scheme, path=str(endpoint.path))
    return Address(
        "tcp" if endpoint.stream else "udp", endpoint.interface or _this_machine(endpoint), endpoint.port
    )


def _this_machine(endpoint: InetEndpoint) -> str:
    return "::1" if endpoint.ipv6 else "127.0.0.1"


class AddressType(click.ParamType[Address]):
    """An address among the arguments of a command."""

    name = "address"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return value if isinstance(value, Address) else parse(value)
        except ValueFault as fault:
            self.fail(str(fault), param, ctx)


def reason(error: OSError) -> str:
    """Why it could not be reached, in words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror or str(error)).lower()
