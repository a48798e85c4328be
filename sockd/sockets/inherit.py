"""Sockets that systemd has opened before it started the daemon (sd_listen_fds(3)).

An inherited socket keeps the options of its socket unit; only the filter of UDP is added. The daemon uses a
copy of the descriptor, because the socket belongs to systemd: it outlives its listener, its queue is never
lost, and its path is never removed.
"""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sockd.config import SocketOptions
from sockd.endpoint import Endpoint, InetEndpoint, SystemdEndpoint, UnixEndpoint
from sockd.errors import BindError
from sockd.sockets import open as sockets
from sockd.sockets.open import BoundSocket
from sockd.sockets.unicast import take_only_requests

FIRST = 3
"""Descriptor of the first socket (SD_LISTEN_FDS_START)."""

MOST = 65536
"""Sockets at most, more than any unit has; a larger number is a fault."""

UNNAMED = "unknown"
"""Name that systemd gives to a socket without one."""

_KINDS = {socket.SOCK_STREAM: "stream", socket.SOCK_DGRAM: "datagram"}
_SCHEMES = {"stream": ("tcp", "unix"), "datagram": ("udp", "unixgram")}


@dataclass(frozen=True, slots=True)
class Inherited:
    """Sockets that this process has inherited.

    Attributes:
        descriptors: by the name and the kind of their sockets, in systemd's order.
        why_none: the reason, if there are none.
    """

    descriptors: Mapping[tuple[str, str], tuple[int, ...]]
    why_none: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, first: int = FIRST) -> Inherited:
        """Read LISTEN_FDS and its companions; keep the sockets from programs that the daemon starts."""
        pid, count = environ.get("LISTEN_PID"), environ.get("LISTEN_FDS", "")
        if pid is None or not count:
            return cls({}, "systemd has not started this process with sockets")
        if pid != str(os.getpid()):
            return cls({}, f"systemd gave its sockets to process {pid}, and this is {os.getpid()}")
        number = int(count) if count.isascii() and count.isdigit() and len(count) < len(str(MOST)) else 0
        if not number:
            return cls({}, f"expected a number of sockets in LISTEN_FDS, found {count!r}")
        names = environ.get("LISTEN_FDNAMES", ":".join([UNNAMED] * number)).split(":")
        if len(names) != number:
            return cls({}, f"expected {number} names in LISTEN_FDNAMES, found {len(names)}")
        found: dict[tuple[str, str], tuple[int, ...]] = {}
        for descriptor, name in enumerate(names, first):
            if kind := _kind(descriptor):
                found[name, kind] = (*found.get((name, kind), ()), descriptor)
        return cls(found)

    @property
    def names(self) -> Iterator[str]:
        """Names of the sockets, without repetition."""
        return iter(dict.fromkeys(name for name, _ in self.descriptors))

    def open_socket(self, endpoint: Endpoint, options: SocketOptions) -> BoundSocket:
        """Open the socket of an endpoint: a copy of the inherited one, or a new one if it names none.

        Raises:
            BindError: there is no such socket, or the machine says no.
        """
        if isinstance(endpoint, SystemdEndpoint):
            return open_inherited(endpoint, self)
        return sockets.open_socket(endpoint, options)


def open_inherited(endpoint: SystemdEndpoint, inherited: Inherited) -> BoundSocket:
    """Copy the socket that the endpoint names; the result has the endpoint that it is bound to.

    Raises:
        BindError: there is no such socket, or it is not what the endpoint says.
    """
    if fault := _fault(endpoint, inherited):
        raise BindError(str(endpoint), fault)
    descriptors = inherited.descriptors[endpoint.name, endpoint.kind]
    sock = socket.socket(fileno=os.dup(descriptors[endpoint.index or 0]))
    sock.setblocking(False)
    if endpoint.stream and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise BindError(str(endpoint), "it does not listen; the socket unit needs Accept=no")
    if not endpoint.stream and sock.family != socket.AF_UNIX:
        take_only_requests(sock)
    return BoundSocket(sock, _bound_to(sock, endpoint.kind))


def _fault(endpoint: SystemdEndpoint, inherited: Inherited) -> str:
    """Say why the endpoint has no socket; empty if it has one."""
    name, kind = endpoint.name, endpoint.kind
    if not inherited.descriptors:
        return inherited.why_none or "none of what systemd gave is a socket that sockd can serve"
    of_kind = inherited.descriptors.get((name, kind), ())
    if not of_kind:
        known = list(inherited.names)
        if name in known:
            other = next(other for other in _SCHEMES if other != kind)
            return f"the socket of that name is of the other type: systemd:{name}:type={other}"
        near = difflib.get_close_matches(name, known, n=1)
        guess = f"; did you mean '{near[0]}'?" if near else ""
        return f"systemd gave no socket of that name, but {', '.join(known)}{guess}"
    if endpoint.index is None and len(of_kind) > 1:
        return f"systemd gave {len(of_kind)} sockets of that name: add :index=0 to :index={len(of_kind) - 1}"
    if (endpoint.index or 0) >= len(of_kind):
        return f"systemd gave {len(of_kind)} of that name, counted from 0"
    return ""


def _kind(descriptor: int) -> str | None:
    """Return the kind of a socket that can be served; programs that the daemon starts do not inherit it."""
    with suppress(OSError):  # not open, or no socket, as other entries of the descriptor store
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        try:
            if sock.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
                return _KINDS.get(sock.type)
        finally:
            sock.detach()
    return None


def _bound_to(sock: socket.socket, kind: str) -> InetEndpoint | UnixEndpoint:
    inet, unix = _SCHEMES[kind]
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        # An abstract name is shown as systemd writes it.
        path = os.fsdecode(address)
        return UnixEndpoint(unix, Path(f"@{path[1:]}" if path.startswith("\0") else path))  # type: ignore[arg-type]
    host, port = address[:2]
    return InetEndpoint(f"{inet}6" if sock.family == socket.AF_INET6 else inet, port, host)  # type: ignore[arg-type]
