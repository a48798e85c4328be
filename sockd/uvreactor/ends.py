"""The two ends of a stream, accepted and connected, over TCP and over UNIX sockets."""

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

from sockd.uvreactor.stream import Stream

TCP_INFO_SIZE = 232
"""Bytes: up to what Linux 4.19 tells. An older kernel tells less."""

ANY_FAMILY = -1
"""For `socket.socket`: whatever the descriptor is of."""


class Descriptor:
    """As much of a connected socket as uvloop asks for: making a `socket.socket` costs two system calls.

    Args:
        descriptor: from now on uvloop's.
        family: of the socket.
    """

    __slots__ = ("_descriptor", "family")

    type = int(socket.SOCK_STREAM)

    def __init__(self, descriptor: int, family: int) -> None:
        self._descriptor = descriptor
        self.family = family

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Nothing to do: uvloop calls it after it has closed the descriptor."""


class Openings:
    """Streams on their way to uvloop.

    Args:
        loop: uvloop's.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._begun: list[tuple[Any, Any]] = []

    def begin(self, stream: Stream, sock: Descriptor | socket.socket) -> None:
        """Let uvloop serve a connected socket; `stream.connection_made` is called in the next turn.

        The loop's coroutine does everything at once but to wait for that call. It must not be dropped
        before, for that would close the socket.
        """
        opening = self._loop.connect_accepted_socket(lambda: stream, sock)
        if not self._begun:
            self._loop.call_soon(self._finish)
        self._begun.append((opening, opening.send(None)))

    def _finish(self) -> None:
        """Let the coroutines of those end that are open: all at once, for a callback each costs more."""
        begun, self._begun = self._begun, []
        for opening, opened in begun:
            if opened.done():
                with suppress(StopIteration, RuntimeError):  # its result, or that the stream is closed
                    opening.send(None)
            else:
                self._begun.append((opening, opened))
        if self._begun:
            self._loop.call_soon(self._finish)


def hand_over(stream: Stream, sock: Descriptor | socket.socket) -> None:
    """Let uvloop serve a connected socket from now on."""
    stream.reactor.openings.begin(stream, sock)
    stream.reactor.native.add(stream)


class Accepted(Stream, tcp.Server):
    """An accepted stream, or one that was adopted.

    Args:
        reactor: the one that serves it.
        descriptor: of the connected socket, if it was handed over.
        client: the peer's address, as `getPeer` of Twisted's own class needs it; likewise.
        port: that accepted it, None if it was adopted.
        build: makes a protocol for the peer, or None, upon which the stream is closed.
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
    ) -> None:  # nothing of what Twisted's own classes do here is needed
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
        except BaseException:  # the connection lives on, as with Twisted's own transports
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
        """The descriptor; -1 once it is closed."""
        return -1 if self._uv is None or self.disconnected else self._number()

    def _number(self) -> int:
        if self._descriptor is None:
            self._descriptor = self._uv.get_extra_info("socket").fileno()
        return self._descriptor

    @cached_property
    def socket(self) -> socket.socket:  # type: ignore[override]
        """For options and names. Reading, writing and closing are uvloop's."""
        if self._uv is None or self.disconnected:
            raise AttributeError("socket")
        return self._borrow()

    def _borrow(self) -> _Borrowed:
        return _Borrowed(ANY_FAMILY, socket.SOCK_STREAM, 0, self._number())

    @override
    def _let_go(self) -> None:
        if self.server is None and not self._aborting:  # adopted: somebody else has a copy of the descriptor
            with suppress(OSError), self._borrow() as handle:
                handle.shutdown(socket.SHUT_RDWR)
        super()._let_go()

    @property
    def hostname(self) -> Any:  # type: ignore[override]  # worked out when it is asked for
        """The peer's, without its port."""
        return self.client[0]

    @property
    def logstr(self) -> str:  # type: ignore[override]
        """What Twisted's log calls it."""
        return f"{self._getLogPrefix(getattr(self, 'protocol', None))},{self.sessionno},{self._log_name()}"

    def _log_name(self) -> Any:
        return self.hostname

    @property
    def repstr(self) -> str:  # type: ignore[override]
        """For `repr`."""
        protocol = type(getattr(self, "protocol", None)).__name__
        return f"<{protocol} #{self.sessionno} on {self._local_name()}>"

    def _local_name(self) -> Any:
        handle = getattr(self, "socket", None)
        return None if handle is None else handle.getsockname()[1]


class _Borrowed(socket.socket):
    """A socket whose descriptor is uvloop's to close."""

    @override
    def close(self) -> None:
        self.detach()


class TCPServer(Accepted):
    """An accepted TCP stream; if uvloop accepted it, its socket and its peer are yet to be asked for."""

    _last_info = b""

    @override
    def _open(self) -> None:
        if self.client is None:
            peer = self._uv.get_extra_info("peername")
            if peer is None:  # it is gone already
                self._refuse()
                return
            self.client = self.server._name(peer)
            self.reactor.native.add(self)
        if len(self.client) != 2:
            self._addressType = address.IPv6Address
        Accepted._open(self)

    def tcp_info(self) -> bytes:
        """The kernel's `struct tcp_info` (linux/tcp.h): as it is, or as it was when the stream ended."""
        return self._last_info if self._uv is None or self.disconnected else self._info()

    def _info(self) -> bytes:
        # Not by `socket`: making one costs more than what it is asked.
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
    """A stream that was connected from here; until it is, Twisted's own class does everything."""

    connector: Any
    _connecting = True

    @override
    def _connectDone(self) -> None:
        self._connecting = False
        hand_over(self, self.socket)

    @override
    def _open(self) -> None:
        if not hasattr(self, "connector"):  # it was given up since
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
    """A TCP stream connected from here."""


class _PassesDescriptors(Stream):
    """Can go over to Twisted's own transport, for uvloop passes no descriptors along with data."""

    _stock: type[tcp.Connection]

    def _go_over(self) -> None:
        """Become a stock transport, in place: the protocol may hold it already."""
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
    """Hand on what uvloop had read of a stream that has gone over since, and let that read on."""
    try:
        while unread and stream.connected and not stream.disconnecting:
            stream.protocol.dataReceived(unread.pop(0))
    except BaseException:  # application code may raise anything
        log.err()
        stream.connectionLost(Failure())
    if reading and stream.connected and not stream.disconnecting:
        stream.startReading()


class UNIXServer(_PassesDescriptors, Accepted, unix.Server):
    """An accepted UNIX stream."""

    _stock = unix.Server

    @override
    def _local_name(self) -> Any:
        handle = getattr(self, "socket", None)
        return None if handle is None else handle.getsockname()

    @override
    def _log_name(self) -> Any:
        return self._local_name() if self.server is None else self.hostname


class UNIXClient(_PassesDescriptors, Connected, unix.Client):
    """A UNIX stream connected from here."""

    _stock = unix.Client
