"""Address of a service for a client, in one word: `tcp:7007`, `tls:HOST:7007`, `HOST:7007`, `unix:PATH` …"""

from __future__ import annotations

import functools
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
from typing_extensions import override

from sockd.cli.tls import Tls, TlsFailed, TlsSocket
from sockd.cli.tls import reason as tls_reason
from sockd.endpoint import InetEndpoint, SystemdEndpoint, UnixEndpoint
from sockd.endpoint import parse as parse_endpoint
from sockd.errors import ValueFault
from sockd.text import describe_os_error

_HOST_AND_PORT = re.compile(r"(?:(tcp|udp)6?:)?(?:\[([^\]]+)\]|([^:=/\s]+)):(\d{1,5})")

Kind = Literal["tcp", "udp", "unix", "unixgram"]


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a service, as a client sees it.

    Attributes:
        kind: of socket.
        host: of TCP and UDP, with `port`.
        path: of UNIX sockets.
        encrypted: whether the service speaks TLS.
        tls: options of TLS, if it does.
    """

    kind: Kind
    host: str = ""
    port: int = 0
    path: str = ""
    encrypted: bool = False
    tls: Tls | None = None

    @property
    def stream(self) -> bool:
        """True if the service takes connections rather than datagrams."""
        return self.kind in ("tcp", "unix")

    def __str__(self) -> str:
        if self.path:
            return f"{self.kind}:{self.path}"
        kind = "tls" if self.encrypted else self.kind
        return f"{kind}:{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def connect(self, timeout: float | None = None) -> socket.socket | TlsSocket:
        """Connect a socket to the service, under TLS if it speaks TLS; a datagram socket can get answers.

        Args:
            timeout: seconds for the connection, and for each later step until another timeout is set.

        Raises:
            OSError: the service cannot be reached.
        """
        sock = self._connected(timeout)
        if self.tls is None:
            return sock
        try:
            return self.tls.wrap(sock, self.host)
        except BaseException:  # close the socket whatever was raised
            sock.close()
            raise

    def _connected(self, timeout: float | None) -> socket.socket:
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
                sock.bind("")  # the kernel chooses an abstract name, which the service can answer
        try:
            sock.settimeout(timeout)
            sock.connect(target)
        except OSError:
            sock.close()
            raise
        return sock


def parse(text: str) -> Address:
    """Parse a client's address, or an endpoint of the daemon.

    Raises:
        ValueFault: the text is neither.
    """
    if text.startswith("tls:"):
        return replace(parse(f"tcp:{text.removeprefix('tls:')}"), encrypted=True)
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
    """Type of an address among the arguments of a command."""

    name = "address"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return value if isinstance(value, Address) else parse(value)
        except ValueFault as fault:
            self.fail(str(fault), param, ctx)


_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


def of_service(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command its argument `address`, and the options of TLS."""
    return reaching(AddressType())(command)


def reaching(kind: AddressType) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command its argument `address` of a kind, and the options of TLS."""
    return lambda command: _reaching(kind, command)


def _reaching(kind: AddressType, command: Callable[..., None]) -> Callable[..., None]:
    @click.argument("address", type=kind)
    @click.option(
        "--tls", is_flag=True, help="Use TLS, as with tls:HOST:PORT; the following options imply it."
    )
    @click.option(
        "--ca",
        type=_EXISTING,
        metavar="FILE",
        help="Trusted authorities, in place of the system's (PEM).",
    )
    @click.option("-k", "--insecure", is_flag=True, help="Do not verify the server's certificate.")
    @click.option("--cert", type=_EXISTING, metavar="FILE", help="Client certificate to show (PEM).")
    @click.option(
        "--key", type=_EXISTING, metavar="FILE", help="Its private key, if that is in another file."
    )
    @click.option(
        "--server-name", metavar="NAME", help="Name that the server's certificate must have; sent as SNI."
    )
    @functools.wraps(command)
    def reach(
        address: Address,
        tls: bool,
        ca: Path | None,
        insecure: bool,
        cert: Path | None,
        key: Path | None,
        server_name: str | None,
        **given: Any,
    ) -> None:
        if key is not None and cert is None:
            raise click.UsageError("--key goes with --cert")
        if tls or insecure or ca or cert or server_name or address.encrypted:
            if not address.stream:
                raise click.UsageError(f"TLS goes over tcp or unix, not over {address.kind}")
            how = Tls(ca, insecure, cert, key, server_name)
            address = replace(address, encrypted=True, tls=how)
        command(address=address, **given)

    return reach


def reason(error: OSError) -> str:
    """Explain why the service cannot be reached."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, (ssl.SSLError, TlsFailed)):
        return tls_reason(error)
    return describe_os_error(error)
