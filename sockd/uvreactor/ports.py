"""Listening ports and connectors: Twisted's own, but what they accept or connect goes to uvloop."""

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

from sockd.uvreactor.ends import Descriptor, TCPClient, TCPServer, UNIXClient, UNIXServer, hand_over

logger = Logger()

ACCEPTS = 100
"""Connections accepted in one turn."""

_QUEUE, _QUEUE_OFFSET = struct.Struct("=II"), 24
"""In Linux' struct tcp_info of a listening socket: how many wait to be accepted, and how many may."""

LOOK_AFTER = 0.1
"""Seconds from the first of some connections until somebody looks whether there are descriptors left."""

COMPLAIN_EVERY = 10
"""Seconds between two complaints that there are none."""


class _Port(tcp.Port):
    """Hands over to uvloop what waits to be accepted."""

    reactor: Any
    grant: Callable[[int], int] | None = None
    """How many of so many connections may be accepted now; who is told 0 may stop reading."""
    _stream: Any

    @override
    def doRead(self) -> None:
        self._accept(ACCEPTS)

    def _accept(self, most: int) -> None:
        """Accept so many, if they are there and may be."""
        if self.grant is not None and most:
            most = self.grant(most)
        listening: Any = self.socket
        accept = listening._accept  # the public one takes twice as long
        try:
            for _ in range(most):
                descriptor, peer = accept()
                self._take(descriptor, peer)
        except BlockingIOError:
            pass
        except OSError:
            self._accept_what_can_be()
        except BaseException:  # the port lives
            log.err()

    def _accept_what_can_be(self) -> None:
        """Let Twisted decide what an error of `accept` means, above all when there are no descriptors."""
        with tcp._BuffersLogs(self._logger.namespace, self._logger.observer) as buffered:
            for sock, peer in tcp._accept(buffered, range(ACCEPTS), self.socket, tcp._reservedFD):
                self._take(sock.detach(), peer)

    def _take(self, descriptor: int, peer: Any) -> None:
        """Serve a connection; one that cannot be served is closed."""
        factory: Any = self.factory
        try:
            stream = self._stream(self.reactor, descriptor, self._name(peer), self, factory.buildProtocol)
            hand_over(stream, Descriptor(descriptor, self.addressFamily))
        except BaseException:  # the port lives
            logger.failure("cannot serve a connection that was accepted on {port}", port=self)
            os.close(descriptor)

    def _name(self, peer: Any) -> Any:
        raise NotImplementedError


class TCPPort(_Port):
    """Accepts TCP streams.

    uvloop accepts, but only one connection in a turn; those that wait behind it are handed over.
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
        """Whether connections are accepted."""
        return self._server is not None

    def getWriteBufferSize(self) -> int:
        """Ports write nothing."""
        return 0

    @override
    def startReading(self) -> None:
        if self._server is None:
            # uvloop closes what it is given, while the port may begin again.
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
        """For uvloop, which sets it anew. Of an adopted socket the kernel knows it."""
        if self.backlog is not None:
            return self.backlog
        return self._queue()[1]

    def _queue(self) -> tuple[int, int]:
        """How many connections wait to be accepted, and how many may."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        waiting, most = _QUEUE.unpack_from(info, _QUEUE_OFFSET)
        return waiting, most

    def _accepted(self) -> TCPServer:
        """A stream for what uvloop is about to accept. Raising here would stop it for good."""
        if not self._draining:
            self._draining = True
            self.reactor.loop.call_soon(self._drain)
        factory: Any = self.factory
        return TCPServer(self.reactor, None, None, self, factory.buildProtocol)

    def _drain(self) -> None:
        self._draining = False
        if self._server is not None:
            # To ask first costs a tenth of what an `accept` in vain does.
            self._accept(min(ACCEPTS, self._queue()[0]))
        if not self._looking:
            self._looking = True
            self.reactor.loop.call_later(LOOK_AFTER, self._complain)

    def _complain(self) -> None:
        """Say so when the last descriptor is used: uvloop closes further connections without a word."""
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
    """Accepts UNIX streams.

    The path of an adopted socket is left as it is: its mode, and the path itself when the port closes.
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
        log.msg(f"{self._getLogPrefix(self.factory)} starting on {path!r}")  # the words of Twisted's ports
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
    """Connects over TCP."""

    @override
    def _makeTransport(self) -> TCPClient:
        return TCPClient(self.host, self.port, self.bindAddress, self, self.reactor)


class UNIXConnector(unix.Connector):
    """Connects over a UNIX socket."""

    @override
    def _makeTransport(self) -> UNIXClient:  # type: ignore[override]  # BaseConnector's is for TCP
        return UNIXClient(self.address, self, self.reactor, self.checkPID)


def adopt_port(reactor: Any, descriptor: int, family: int, factory: Any) -> TCPPort | UNIXPort:
    """A port on a copy of a socket that listens already."""
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
    """A stream on a copy of a socket that is connected already; None if the factory refuses it."""
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
