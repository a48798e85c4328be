"""Listening ports and connectors of Twisted, whose streams are served by uvloop."""

from __future__ import annotations

import errno
import os
import resource
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import Logger
from twisted.python import log
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.uvreactor.ends import TCPClient, TCPServer, UNIXClient, UNIXServer
from sockd.uvreactor.openings import Descriptor, hand_over

logger = Logger()

ACCEPTS = 100
"""Connections accepted in one turn at most."""

_QUEUE, _QUEUE_OFFSET = struct.Struct("=II"), 24
"""Fields of Linux' struct tcp_info of a listening socket: connections that wait, and how many may wait."""

LOOK_AFTER = 0.1
"""Seconds from the first of some new connections until free descriptors are checked."""

COMPLAIN_EVERY = 10
"""Seconds between two warnings that no descriptor is free."""


class _Port(tcp.Port):
    """Port that passes accepted connections to uvloop."""

    reactor: Any
    grant: Callable[[int], int] | None = None
    """Returns how many of so many connections may be accepted now; at 0 the owner may stop reading."""
    _stream: Any

    @override
    def doRead(self) -> None:
        self._accept(ACCEPTS)

    def _accept(self, most: int) -> None:
        """Accept up to `most` of the connections that wait."""
        if self.grant is not None and most:
            most = self.grant(most)
        listening: Any = self.socket
        accept = listening._accept  # takes half the time of the public one
        try:
            for _ in range(most):
                descriptor, peer = accept()
                self._take(descriptor, peer)
        except BlockingIOError:
            pass
        except OSError:
            self._accept_what_can_be()
        except BaseException:  # the port stays open
            log.err()

    def _accept_what_can_be(self) -> None:
        """Let Twisted handle an error of `accept`, above all when no descriptor is free."""
        with tcp._BuffersLogs(self._logger.namespace, self._logger.observer) as buffered:
            for sock, peer in tcp._accept(buffered, range(ACCEPTS), self.socket, tcp._reservedFD):
                self._take(sock.detach(), peer)

    def _take(self, descriptor: int, peer: Any) -> None:
        """Serve a connection; close it if that fails."""
        factory: Any = self.factory
        try:
            stream = self._stream(self.reactor, descriptor, self._name(peer), self, factory.buildProtocol)
            hand_over(stream, Descriptor(descriptor, self.addressFamily))
        except BaseException:  # the port stays open
            logger.failure("cannot serve a connection that was accepted on {port}", port=self)
            os.close(descriptor)

    def _name(self, peer: Any) -> Any:
        raise NotImplementedError


class TCPPort(_Port):
    """TCP port.

    uvloop accepts, but only one connection in a turn; the port accepts those that wait behind it.
    """

    _stream = TCPServer
    _server: Any = None
    _draining = False
    _complained = 0.0
    _looking = False

    @override
    def startListening(self) -> None:
        super().startListening()
        self.reactor.native.add(self)

    def isReading(self) -> bool:
        """Return whether connections are accepted."""
        return self._server is not None

    def getWriteBufferSize(self) -> int:
        """Return 0: a port writes nothing."""
        return 0

    @override
    def startReading(self) -> None:
        if self._server is None:
            # uvloop closes the socket that it gets, while the port may start reading again.
            opening: Any = self.reactor.loop.create_server(
                self._accepted, sock=self.socket.dup(), backlog=self._backlog()
            )
            try:
                opening.send(None)
            except StopIteration as done:
                self._server = done.value

    @override
    def stopReading(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    @override
    def connectionLost(self, reason: Failure) -> None:
        self.reactor.native.discard(self)
        self.stopReading()
        super().connectionLost(reason)

    def _backlog(self) -> int:
        """Return the backlog for uvloop, which sets it again; for an adopted socket the kernel knows it."""
        if self.backlog is not None:
            return self.backlog
        return self._queue()[1]

    def _queue(self) -> tuple[int, int]:
        """Return how many connections wait to be accepted, and how many may wait."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        waiting, most = _QUEUE.unpack_from(info, _QUEUE_OFFSET)
        return waiting, most

    def _accepted(self) -> TCPServer:
        """Create the stream for the connection that uvloop is about to accept. uvloop stops for good if this
        raises.
        """
        if not self._draining:
            self._draining = True
            self.reactor.loop.call_soon(self._drain)
        factory: Any = self.factory
        return TCPServer(self.reactor, None, None, self, factory.buildProtocol)

    def _drain(self) -> None:
        self._draining = False
        if self._server is not None:
            # The question costs a tenth of an `accept` in vain.
            self._accept(min(ACCEPTS, self._queue()[0]))
        if not self._looking:
            self._looking = True
            self.reactor.loop.call_later(LOOK_AFTER, self._complain)

    def _complain(self) -> None:
        """Warn when no descriptor is free: uvloop closes further connections without a message."""
        self._looking = False
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            now = self.reactor.seconds()
            if error.errno == errno.EMFILE and now - self._complained > COMPLAIN_EVERY:
                self._complained = now
                logger.warn(
                    "port {port}: all {limit} file descriptors are used, new connections are closed",
                    port=self._realPortNumber,
                    limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                )

    @override
    def _name(self, peer: Any) -> Any:
        return tcp._getrealname(peer) if len(peer) == 4 and peer[3] else peer


class UNIXPort(_Port, unix.Port):
    """UNIX port.

    The path of an adopted socket keeps its mode, and stays when the port closes.
    """

    _stream = UNIXServer
    _adopted = False

    @override
    def startListening(self) -> None:
        if self._preexistingSocket is None:
            unix.Port.startListening(self)
            return
        tcp._reservedFD.reserve()
        path = os.fsdecode(self._bindPath)
        log.msg(f"{self._getLogPrefix(self.factory)} starting on {path!r}")  # as Twisted's ports log it
        self._adopted = True
        self._shouldShutdown = False
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self.fileno = self.socket.fileno  # type: ignore[method-assign]  # as Twisted's ports do
        factory: Any = self.factory
        factory.doStart()
        self.connected = True
        self.startReading()

    @override
    def connectionLost(self, reason: Failure) -> None:
        if self._adopted:
            tcp.Port.connectionLost(self, reason)
        else:
            unix.Port.connectionLost(self, reason)

    @override
    def _name(self, peer: Any) -> Any:
        return (peer, None)


class TCPConnector(tcp.Connector):
    """Connector over TCP."""

    @override
    def _makeTransport(self) -> TCPClient:
        return TCPClient(self.host, self.port, self.bindAddress, self, self.reactor)


class UNIXConnector(unix.Connector):
    """Connector over a UNIX socket."""

    @override
    def _makeTransport(self) -> UNIXClient:  # type: ignore[override]  # BaseConnector's is for TCP
        return UNIXClient(self.address, self, self.reactor, self.checkPID)


def adopt_port(reactor: Any, descriptor: int, family: int, factory: Any) -> TCPPort | UNIXPort:
    """Open a port on a copy of a listening socket."""
    port: TCPPort | UNIXPort
    if family == socket.AF_UNIX:
        port = UNIXPort._fromListeningDescriptor(reactor, descriptor, factory)
    else:
        port = TCPPort._fromListeningDescriptor(reactor, descriptor, family, factory)
    port.startListening()
    return port


def adopt_connection(
    reactor: Any, descriptor: int, family: int, factory: Any
) -> TCPServer | UNIXServer | None:
    """Open a stream on a copy of a connected socket; None if the factory refuses it."""
    stream: TCPServer | UNIXServer
    with socket.fromfd(descriptor, family, socket.SOCK_STREAM) as sock:
        own = sock.fileno()
        if family == socket.AF_UNIX:
            protocol = factory.buildProtocol(UNIXAddress(sock.getsockname()))
            stream = UNIXServer(reactor, own, (sock.getpeername(), None), None, lambda _: protocol)
        else:
            peer = tcp._getpeername(sock)
            kind = IPv6Address if family == socket.AF_INET6 else IPv4Address
            protocol = factory.buildProtocol(kind("TCP", *peer))
            stream = TCPServer(reactor, own, peer, None, lambda _: protocol)
            stream.sessionno = peer[1]
        if protocol is None:
            return None
        hand_over(stream, Descriptor(own, family))
        sock.detach()
    return stream
