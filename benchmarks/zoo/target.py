"""Target of an attack: one port, and the ways to connect to it."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks.processes import HOST

Kind = Literal["echo", "upper", "lines", "tls", "proxy", "udp", "chat", "desk", "files"]
"""Services of the zoo's configuration."""

KINDS: tuple[Kind, ...] = get_args(Kind)

ECHOING: tuple[Kind, ...] = ("echo", "upper", "lines", "tls", "proxy")
"""Streams that send `LINE` back, so that the time can be measured."""

LINE = b"0123456789ABCDEF" * 3 + b"0123456789ABCDE\n"
"""Small request, which each of these services returns as it came."""

SOURCES = 200
"""Addresses of the loopback network that bad peers use; good ones use `HOST`."""

PATIENCE = 3.0
"""Seconds to wait for a server under attack to serve a bad peer, which it need not do."""

UNVERIFIED = ssl.create_default_context()
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE


@dataclass(frozen=True, slots=True)
class Target:
    """Port of one service."""

    kind: Kind
    port: int

    def knock(self, number: int | None = None) -> socket.socket:
        """Open a TCP connection and send nothing, from one of the bad addresses, or from the good one."""
        source = (f"127.0.2.{1 + number % SOURCES}", 0) if number is not None else None
        made = socket.create_connection((HOST, self.port), PATIENCE, source)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def enter(self, number: int | None = None) -> socket.socket:
        """Open a connection, with its TLS handshake or PROXY header, if the service has one.

        Raises:
            OSError: the server does not let it in.
        """
        made = self.knock(number)
        if self.kind == "proxy":
            client = "198.51.100.1" if number is None else f"198.51.101.{1 + number % SOURCES}"
            made.sendall(f"PROXY TCP4 {client} 192.0.2.1 40112 443\r\n".encode())
        return UNVERIFIED.wrap_socket(made) if self.kind == "tls" else made


def entered(target: Target, most: int) -> Iterator[socket.socket]:
    """Open up to `count` connections from the bad addresses in turn, as far as the server accepts them."""
    for number in range(most):
        try:
            yield target.enter(number)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return


def send(peer: socket.socket, data: bytes) -> int:
    """Send data; return how much of it the kernel takes now; 0 if nothing, -1 if the connection is lost."""
    try:
        return peer.send(data)
    except (BlockingIOError, TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0
    except OSError:
        return -1


def drain(peer: socket.socket, size: int = 1 << 16) -> None:
    """Read and drop what has arrived."""
    with suppress(OSError):
        peer.recv(size)
