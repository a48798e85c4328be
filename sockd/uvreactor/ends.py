"""Ends of a stream, accepted and connected, over TCP and over UNIX sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

from twisted.internet import address, error, tcp, unix
from twisted.internet.interfaces import IAddress, IFileDescriptorReceiver
from twisted.internet.protocol import Protocol
from twisted.python import log
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.uvreactor.openings import hand_over
from sockd.uvreactor.stream import Stream

TCP_INFO_SIZE = 232
"""Bytes of struct tcp_info that Linux 4.19 fills. An older kernel fills less."""

ANY_FAMILY = -1
"""Argument of `socket.socket` that takes a descriptor of whatever family."""


class Accepted(Stream, tcp.Server):
    """Accepted stream, or an adopted one.

    Args:
        reactor: the one that serves it.
        descriptor: of the connected socket; None if uvloop has accepted it.
        client: the peer's address, as `getPeer` of Twisted's own class needs it; None if uvloop has accepted
            it.
        port: that accepted it; None if it was adopted.
        build: makes a protocol for the peer; if it returns None the stream is closed.
    """

    sessionno = 0
    server: Any
    client: Any

    def __init__(
        self,
        reactor: Any,
        descriptor: int | None,
        client: Any,
        port: Any,
        build: Callable[[IAddress], Any],
    ) -> None:  # the constructors of Twisted's classes are not needed
        self.reactor = reactor
        self._descriptor = descriptor
        self.client = client
        self.server = port
        self._build = build

    @override
    def _open(self) -> None:
        port = self.server
        try:
            protocol = self._build(self.getPeer())
        except BaseException:  # application code may raise anything
            log.err()
            protocol = None
        del self._build
        if protocol is None:
            self._refuse()
            return
        if port is not None:
            self.sessionno = port.sessionno
            port.sessionno += 1
        self.protocol = protocol
        self.connected = 1
        try:
            self._connect_protocol()
        except BaseException:  # the stream stays open, as with Twisted's own transports
            log.err()

    def _connect_protocol(self) -> None:
        self.protocol.makeConnection(self)

    def _refuse(self) -> None:
        self.disconnected = 1
        self.reactor.native.discard(self)
        self.reactor.closing.add(self)
        self._let_go()
        self._uv.abort()

    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed."""
        return -1 if self._uv is None or self.disconnected else self._number()

    def _number(self) -> int:
        if self._descriptor is None:
            self._descriptor = self._uv.get_extra_info("socket").fileno()
        return self._descriptor

    @cached_property
    def socket(self) -> socket.socket:  # type: ignore[override]
        """Socket for options and addresses. uvloop reads, writes and closes."""
        if self._uv is None or self.disconnected:
            raise AttributeError("socket")
        return self._borrow()

    def _borrow(self) -> _Borrowed:
        return _Borrowed(ANY_FAMILY, socket.SOCK_STREAM, 0, self._number())

    @override
    def _let_go(self) -> None:
        if self.server is None and not self._aborting:  # adopted: another owner has a copy of the descriptor
            with suppress(OSError), self._borrow() as handle:
                handle.shutdown(socket.SHUT_RDWR)
        super()._let_go()

    @property
    def hostname(self) -> Any:  # type: ignore[override]  # worked out when it is asked for
        """Host of the peer."""
        return self.client[0]

    @property
    def logstr(self) -> str:  # type: ignore[override]
        """Prefix of Twisted's log."""
        return f"{self._getLogPrefix(getattr(self, 'protocol', None))},{self.sessionno},{self._log_name()}"

    def _log_name(self) -> Any:
        return self.hostname

    @property
    def repstr(self) -> str:  # type: ignore[override]
        """Text for `repr`."""
        protocol = type(getattr(self, "protocol", None)).__name__
        return f"<{protocol} #{self.sessionno} on {self._local_name()}>"

    def _local_name(self) -> Any:
        handle = getattr(self, "socket", None)
        return None if handle is None else handle.getsockname()[1]


class _Borrowed(socket.socket):
    """Socket whose descriptor uvloop closes."""

    @override
    def close(self) -> None:
        self.detach()


class TCPServer(Accepted):
    """Accepted TCP stream; if uvloop has accepted it, its socket and its peer are read when it opens."""

    _last_info = b""

    @override
    def _open(self) -> None:
        if self.client is None:
            peer = self._uv.get_extra_info("peername")
            if peer is None:  # closed already
                self._refuse()
                return
            self.client = self.server._name(peer)
            self.reactor.native.add(self)
        if len(self.client) != 2:
            self._addressType = address.IPv6Address
        Accepted._open(self)

    def tcp_info(self) -> bytes:
        """Return the kernel's `struct tcp_info` (linux/tcp.h), or the last one before the end."""
        return self._last_info if self._uv is None or self.disconnected else self._info()

    def _info(self) -> bytes:
        # Not by `socket`: to make one costs more than the call.
        borrowed = socket.SocketType(ANY_FAMILY, socket.SOCK_STREAM, 0, self._number())
        try:
            return borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
        finally:
            borrowed.detach()

    @override
    def _let_go(self) -> None:
        with suppress(OSError):
            self._last_info = self._info()
        super()._let_go()


class Connected(Stream, tcp.BaseClient):
    """Stream that connects from here; until it is open, Twisted's own class does everything."""

    connector: Any
    _connecting = True

    @override
    def _connectDone(self) -> None:
        self._connecting = False
        hand_over(self, self.socket)

    @override
    def _open(self) -> None:
        if not hasattr(self, "connector"):  # given up meanwhile
            self.disconnected = 1
            self.reactor.native.discard(self)
            self._uv.abort()
            return
        try:
            protocol = self.connector.buildProtocol(self.getPeer())
        except BaseException:  # application code may raise anything
            log.err()
            self.failIfNotConnected(error.ConnectError(string=Failure()))
            self._open()
            return
        self.connected = 1
        self.logstr = f"{self._getLogPrefix(protocol)},client"
        if protocol is None:
            self.protocol = Protocol()
            self.loseConnection()
            return
        self.protocol = protocol
        try:
            self._connect_protocol()
        except BaseException:  # application code may raise anything
            log.err()
            self.connectionLost(Failure())

    def _connect_protocol(self) -> None:
        self.protocol.makeConnection(self)

    @override
    def connectionLost(self, reason: Failure) -> None:
        if self.connected:
            Stream.connectionLost(self, reason)
            self.connector.connectionLost(reason)
        elif not self.disconnected:
            self.failIfNotConnected(error.ConnectError(string=reason))

    @override
    def startReading(self) -> None:
        if self._connecting:
            self.reactor.addReader(self)
        else:
            Stream.startReading(self)

    @override
    def stopReading(self) -> None:
        if self._connecting:
            self.reactor.removeReader(self)
        else:
            Stream.stopReading(self)

    @override
    def startWriting(self) -> None:
        if self._connecting:
            self.reactor.addWriter(self)

    @override
    def stopWriting(self) -> None:
        if self._connecting:
            self.reactor.removeWriter(self)


class TCPClient(Connected, tcp.Client):
    """TCP stream that connects from here."""


class _PassesDescriptors(Stream):
    """Stream that can change to Twisted's own transport, because uvloop cannot pass descriptors."""

    _stock: type[tcp.Connection]

    def _go_over(self) -> None:
        """Become Twisted's transport, in place, because the protocol may hold this object already."""
        if self.getWriteBufferSize():
            raise BlockingIOError("cannot pass descriptors before the peer has taken earlier output")
        sock = socket.socket(fileno=os.dup(self.fileno()))
        Stream._let_go(self)
        uv, self._uv = self._uv, None
        unread, self._stash = self._stash, None
        stock = self._stock
        uv.set_protocol(asyncio.BaseProtocol())
        uv.abort()
        reading = self.isReading()
        self.reactor.native.discard(self)
        self.__class__ = stock  # type: ignore[assignment]
        self.__dict__.pop("data_received", None)
        self._send = partial(stock.write, self)  # type: ignore[method-assign]
        self.socket, self.fileno = sock, sock.fileno
        self._sendmsgQueue: list[int] = []
        self._tempDataBuffer: list[bytes] = []
        self.__dict__["_tempDataLen"] = 0
        if unread:
            self.reactor.loop.call_soon(_read_on, self, unread, reading)
        elif reading:
            self.reactor.addReader(self)

    def _connect_protocol(self) -> None:
        if IFileDescriptorReceiver.providedBy(self.protocol):
            self._go_over()
        self.protocol.makeConnection(self)

    def sendFileDescriptor(self, fileno: int) -> None:
        """Pass a descriptor along with the data that is written next."""
        self._go_over()
        self.sendFileDescriptor(fileno)


def _read_on(stream: Any, unread: list[bytes], reading: bool) -> None:
    """Deliver what uvloop had read before the stream changed, and let the stream read on."""
    try:
        while unread and stream.connected and not stream.disconnecting:
            stream.protocol.dataReceived(unread.pop(0))
    except BaseException:  # application code may raise anything
        log.err()
        stream.connectionLost(Failure())
    if reading and stream.connected and not stream.disconnecting:
        stream.startReading()


class UNIXServer(_PassesDescriptors, Accepted, unix.Server):
    """Accepted UNIX stream."""

    _stock = unix.Server

    @override
    def _local_name(self) -> Any:
        handle = getattr(self, "socket", None)
        return None if handle is None else handle.getsockname()

    @override
    def _log_name(self) -> Any:
        return self._local_name() if self.server is None else self.hostname


class UNIXClient(_PassesDescriptors, Connected, unix.Client):
    """UNIX stream that connects from here."""

    _stock = unix.Client
