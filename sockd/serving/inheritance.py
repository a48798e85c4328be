"""Sockets that a worker has got from the supervisor."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from sockd.config import Config, SocketOptions
from sockd.endpoint import Endpoint, parse
from sockd.errors import BindError
from sockd.serving.share import at_true_ports
from sockd.sockets.open import BoundSocket

Named = Sequence[tuple[str, int, str, Sequence[int] | None]]
"""Name of the service, index in its `listen`, bound endpoint, and device and inode of the path of each
socket."""


class Inheritance:
    """Sockets for one configuration. Each is taken once; the others are closed."""

    def __init__(self, named: Named, descriptors: Sequence[int]) -> None:
        self._given: dict[tuple[str, int], BoundSocket] = {}
        for (service, index, endpoint, inode), descriptor in zip(named, descriptors, strict=True):
            self._given[service, index] = _given(descriptor, endpoint, inode)
        self._by_endpoint: dict[Endpoint, BoundSocket] = {}
        ports, datagrams = self._ports(), socket.SOCK_DGRAM
        self.datagram_ports = {
            port for key, port in ports.items() if self._given[key].socket.type == datagrams
        }
        """UDP ports of the whole daemon."""

    def placed(self, config: Config) -> Config:
        """Return the configuration with its endpoints as they are bound."""
        config = at_true_ports(config, self._ports())
        for name, service in config.services.items():
            for index, listener in enumerate(service.listen):
                if (bound := self._given.get((name, index))) is not None:
                    self._by_endpoint[listener.endpoint] = bound
        return config

    def _ports(self) -> dict[tuple[str, int], int]:
        return {
            key: bound.socket.getsockname()[1]
            for key, bound in self._given.items()
            if bound.socket.family != socket.AF_UNIX
        }

    def open_socket(self, endpoint: Endpoint, options: SocketOptions) -> BoundSocket:  # noqa: ARG002
        """Return the socket of an endpoint; its options were set when it was opened."""
        bound = self._by_endpoint.pop(endpoint, None)
        if bound is None:
            raise BindError(str(endpoint), "the supervisor has sent no socket for it")
        self._given = {key: other for key, other in self._given.items() if other is not bound}
        return bound

    def close(self) -> None:
        """Close the sockets that were not taken; the supervisor keeps its copies."""
        for bound in self._given.values():
            bound.socket.close()
        self._given, self._by_endpoint = {}, {}


def _given(descriptor: int, endpoint: str, inode: Sequence[int] | None) -> BoundSocket:
    return BoundSocket(
        socket.socket(fileno=descriptor),
        parse(endpoint),  # type: ignore[arg-type]  # a bound endpoint is not one of systemd
        None if inode is None else (inode[0], inode[1]),
        closing=lambda: False,  # the path is the supervisor's
    )
