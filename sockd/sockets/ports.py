"""Ports of the reactor on listening sockets that are open already.

sockd opens every socket itself and lets the reactor adopt it. Twisted's own ports shut a listening socket
down for every process that shares it, set the mode of UNIX sockets to 0666, and unlink paths that are no
longer theirs.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from twisted.internet import interfaces, tcp, unix
from twisted.internet.protocol import Factory
from typing_extensions import override

from sockd.sockets.open import BoundSocket
from sockd.sockets.transport import TCP_INFO_SIZE

ACCEPTS = 100
"""Connections that are accepted in one turn at most."""

Grant = Callable[[int], int]
"""Function that returns how many of so many connections may be accepted now."""


class _TCPServer(tcp.Server):
    """Twisted's TCP stream, which keeps the last `tcp_info` of a closed connection."""

    _last_info = b""

    def tcp_info(self) -> bytes:
        """Return the kernel's `struct tcp_info`: the present one, or the last one before the stream ended."""
        with suppress(AttributeError, OSError):  # the socket is closed
            return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
        return self._last_info

    @override
    def _closeSocket(self, orderly: bool) -> None:
        self._last_info = self.tcp_info()
        super()._closeSocket(orderly)


class _Accepting:
    """Limit of the connections accepted in a turn; Twisted's ports raise theirs by themselves."""

    grant: Grant

    @property
    def numberAccepts(self) -> int:  # noqa: N802  # as Twisted's
        """Connections that the next turn may accept."""
        return self.grant(ACCEPTS)

    @numberAccepts.setter
    def numberAccepts(self, _: int) -> None: ...  # noqa: N802  # as Twisted's


class _TCPPort(_Accepting, tcp.Port):
    """Twisted's TCP port, with streams that keep their `tcp_info`."""

    transport = _TCPServer


class _UnixPort(_Accepting, unix.Port):
    """Twisted's UNIX port on a socket that is already open, without its chmod to 0666 and its unlink."""

    @override
    def startListening(self) -> None:
        self.socket = cast("socket.socket", self._preexistingSocket)
        self._preexistingSocket = None
        self._shouldShutdown = False
        cast("Factory", self.factory).doStart()
        self.connected = True
        self.fileno = self.socket.fileno  # type: ignore[method-assign]  # as Twisted's ports do
        self.startReading()

    @override
    def connectionLost(self, reason: object) -> None:
        tcp.Port.connectionLost(self, reason)


def adopt_stream_port(
    reactor: Any, bound: BoundSocket, factory: interfaces.IProtocolFactory, grant: Grant = int, *, stock: bool
) -> interfaces.IListeningPort:
    """Let the reactor accept connections from a copy of the socket's descriptor.

    Args:
        reactor: the one that runs.
        bound: a listening socket.
        factory: builds the protocol of each connection.
        grant: asked before connections are accepted; by default all may be.
        stock: whether to serve on Twisted's own transports although the reactor has others.
    """
    descriptor, family = bound.socket.fileno(), bound.socket.family
    if not stock and getattr(reactor, "leaves_adopted_paths", False):  # sockd's reactor
        own = reactor.adoptStreamPort(descriptor, family, factory)
        own.grant = grant
        return cast("interfaces.IListeningPort", own)
    port: _TCPPort | _UnixPort
    if family == socket.AF_UNIX:
        port = _UnixPort._fromListeningDescriptor(reactor, descriptor, factory)
    else:
        port = _TCPPort._fromListeningDescriptor(reactor, descriptor, family, factory)
    port.grant = grant
    port.startListening()
    return port
