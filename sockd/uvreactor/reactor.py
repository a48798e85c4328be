"""Reactor: uvloop's loop under Twisted's interfaces."""

from __future__ import annotations

import asyncio
import select
import signal
import socket
from asyncio import AbstractEventLoop
from contextlib import suppress
from typing import Any

import uvloop
from twisted.internet import process
from twisted.internet._signals import SignalHandling, _MultiSignalHandling
from twisted.internet.base import ReactorBase
from twisted.internet.error import UnsupportedAddressFamily
from twisted.internet.main import installReactor
from twisted.internet.posixbase import _PollLikeMixin
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.uvreactor.bare import LOST
from sockd.uvreactor.calls import Calls, run_logged
from sockd.uvreactor.descriptors import Descriptors
from sockd.uvreactor.openings import Openings
from sockd.uvreactor.ports import (
    TCPConnector,
    TCPPort,
    UNIXConnector,
    UNIXPort,
    adopt_connection,
    adopt_port,
)
from sockd.uvreactor.udp import MulticastPort, UDPPort

log = Logger()

TURNS_TO_CLOSE = 4
"""Turns of the loop after the end: uvloop closes a stream one or two turns after the call."""


class UVReactor(Calls):
    """Twisted's asyncio reactor on uvloop, with uvloop's own streams.

    Args:
        eventloop: a loop of uvloop's; by default the running one, or a new one, which becomes asyncio's
            current loop, so that tasks of asyncio that are created before `run` are executed.

    Raises:
        TypeError: the loop is another kind.
    """

    _POLL_DISCONNECTED = select.EPOLLHUP | select.EPOLLERR
    _POLL_IN = select.EPOLLIN
    _POLL_OUT = select.EPOLLOUT
    _doReadOrWrite = _PollLikeMixin._doReadOrWrite

    leaves_adopted_paths = True
    """True: `adoptStreamPort` leaves the file system unchanged."""

    def __init__(self, eventloop: AbstractEventLoop | None = None) -> None:
        self.loop = _current_loop() if eventloop is None else eventloop
        if not isinstance(self.loop, uvloop.Loop):
            raise TypeError(f"the reactor runs on a loop of uvloop, not on {self.loop!r}")
        self.loop.set_exception_handler(_log_exception)
        self.native: set[Any] = set()
        """Streams and ports that uvloop watches by itself."""
        self.closing: set[Any] = set()
        """Streams that have ended for their protocol, and whose descriptor is still open."""
        self.openings = Openings(self.loop)
        self._descriptors = Descriptors(self)
        self._iterating = False
        super().__init__(self.loop)
        self.loop.add_reader(self._descriptors.fileno(), self._descriptors.serve)

    # Descriptors.

    @property
    def _reads(self) -> dict[int, Any]:
        """Readers by descriptor, for `_doReadOrWrite`."""
        return self._descriptors.reads

    @override
    def addReader(self, reader: Any) -> None:
        if reader in self.native:
            reader.startReading()
        else:
            self._descriptors.add_reader(reader)

    @override
    def addWriter(self, writer: Any) -> None:
        if writer not in self.native:
            self._descriptors.add_writer(writer)

    @override
    def removeReader(self, reader: Any) -> None:
        if reader in self.native:
            reader.stopReading()
        else:
            self._descriptors.remove_reader(reader)

    @override
    def removeWriter(self, writer: Any) -> None:
        if writer not in self.native:
            self._descriptors.remove_writer(writer)

    @override
    def getReaders(self) -> list[Any]:
        native = [reader for reader in self.native if reader.isReading()]
        return [*self._descriptors.readers(), *native]

    @override
    def getWriters(self) -> list[Any]:
        return self._descriptors.writers()

    @override
    def removeAll(self) -> list[Any]:
        removed = self._removeAll(self._descriptors.readers(), self._descriptors.writers())
        native = [reader for reader in self.native if reader.isReading() or reader.getWriteBufferSize()]
        for reader in native:
            reader.stopReading()
        self.native.difference_update(native)
        return [*removed, *native]

    @override
    def disconnectAll(self) -> None:
        super().disconnectAll()
        for paused in list(self.native):
            run_logged(paused.connectionLost, LOST)

    # Streams.

    @override
    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> TCPPort:
        opened = TCPPort(port, factory, backlog, interface, self)
        opened.startListening()
        return opened

    @override
    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> TCPConnector:
        connector = TCPConnector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    @override
    def listenUNIX(
        self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> UNIXPort:
        opened = UNIXPort(address, factory, backlog, mode, self, wantPID)
        opened.startListening()
        return opened

    @override
    def connectUNIX(
        self, address: Any, factory: Any, timeout: float = 30, checkPID: int = 0
    ) -> UNIXConnector:
        connector = UNIXConnector(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    @override
    def adoptStreamPort(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> TCPPort | UNIXPort:
        if addressFamily not in self._supportedAddressFamilies:
            raise UnsupportedAddressFamily(addressFamily)
        return adopt_port(self, fileDescriptor, addressFamily, factory)

    @override
    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:
        if addressFamily not in self._supportedAddressFamilies:
            raise UnsupportedAddressFamily(addressFamily)
        return adopt_connection(self, fileDescriptor, addressFamily, factory)

    # Datagrams.

    @override
    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> UDPPort:
        opened = UDPPort(port, protocol, interface, maxPacketSize, self)
        opened.startListening()
        return opened

    @override
    def listenMulticast(
        self,
        port: int,
        protocol: Any,
        interface: str = "",
        maxPacketSize: int = 8192,
        listenMultiple: bool = False,
    ) -> MulticastPort:
        opened = MulticastPort(port, protocol, interface, maxPacketSize, self, listenMultiple)
        opened.startListening()
        return opened

    @override
    def adoptDatagramPort(
        self, fileDescriptor: int, addressFamily: Any, protocol: Any, maxPacketSize: int = 8192
    ) -> UDPPort:
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            raise UnsupportedAddressFamily(addressFamily)
        opened: UDPPort = UDPPort._fromListeningDescriptor(
            self, fileDescriptor, addressFamily, protocol, maxPacketSize
        )
        opened.startListening()
        return opened

    # Life of the reactor.

    @override
    def _signalsFactory(self) -> SignalHandling:
        return _MultiSignalHandling((ReactorBase._signalsFactory(self), _ChildSignal(self.loop)))

    @override
    def run(self, installSignalHandlers: bool = True) -> None:
        # Calls at the start may create tasks, so asyncio is told already that the loop runs.
        asyncio._set_running_loop(self.loop)
        try:
            self.startRunning(installSignalHandlers)
        finally:
            asyncio._set_running_loop(None)
        if self._started:  # a call at the start may have stopped it
            self.loop.run_forever()
        self._justStopped = False
        for _ in range(TURNS_TO_CLOSE):
            if self.closing:
                self.loop.call_soon(self.loop.stop)
                self.loop.run_forever()

    @override
    def iterate(self, delay: float = 0) -> None:
        """Make the calls that are due, and turn the loop once, or for `delay` seconds.

        Raises:
            RuntimeError: called by something that the loop itself has called.
        """
        if asyncio._get_running_loop() is self.loop:
            raise RuntimeError(
                "reactor.iterate() was called from within the reactor, whose loop cannot be entered twice: "
                "return instead, and go on in a callback or by callLater"
            )
        self.runUntilCurrent()
        self._iterating = True
        later = self.loop.call_later(delay, self.loop.stop) if delay else self.loop.stop()
        try:
            self.loop.run_forever()
        finally:
            self._iterating = False
            if later is not None:
                later.cancel()

    @override
    def crash(self) -> None:
        ReactorBase.crash(self)
        if self.loop.is_running() and not self._iterating:  # else the next run would end at once
            self.loop.stop()

    @override
    def stop(self) -> None:
        ReactorBase.stop(self)
        self.loop.call_soon_threadsafe(self._onTimer)  # notices that the reactor stops


class _ChildSignal:
    """Watch for the end of child processes.

    Twisted lets the kernel write to a descriptor of its own for that; while uvloop runs, it has that
    descriptor.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop

    def install(self) -> None:
        """Reap from now on, beginning with the processes that have already ended."""
        signal.signal(signal.SIGCHLD, self._reap_soon)
        signal.siginterrupt(signal.SIGCHLD, False)
        process.reapAllProcesses()

    def uninstall(self) -> None:
        """Stop reaping."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _reap_soon(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(process.reapAllProcesses)


def _current_loop() -> AbstractEventLoop:
    """Return the running loop, or a new one, which becomes asyncio's current loop."""
    with suppress(RuntimeError):  # none runs
        return asyncio.get_running_loop()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _log_exception(_: AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if error is None:
        log.error("{message}", message=context["message"])
    else:
        log.failure("{message}", Failure(error), message=context["message"])


def install(eventloop: AbstractEventLoop | None = None) -> None:
    """Install this reactor as the global one, on `eventloop` or on a new loop."""
    installReactor(UVReactor(eventloop))
