"""The shell around a datagram port: reads in bounded batches, and guards what is answered.

A datagram's source is easily forged. So nothing is delivered that must not be answered (well-known and
our own ports: CVE-1999-0103, CVE-2024-2169), and no more goes back than the service allows for what came.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet import interfaces
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.limits import Admission
from sockd.loops import LOOK_EVERY, Loops
from sockd.plugin import Replies
from sockd.sockets import BoundSocket
from sockd.telemetry.events import ServiceEvents

BATCH = 64
"""Datagrams read in one turn of the reactor, of whatever size: a flood must not starve the others."""

MAX_UDP = 65_535
"""Bytes. No UDP datagram is longer."""

BUFFER_SIZE = 256 * 1024
"""Bytes. A UNIX datagram is bounded by the sender's buffer, 208 KiB."""

FIRST_UNPRIVILEGED_PORT = 1024

MAX_OWED = 65_536
"""Peers whose unused allowance is kept for a later reply. When it is full new ones get none, so that
forged sources cannot push out those that are there."""

SO_MEMINFO = 55
"""Linux' number (asm-generic/socket.h), which Python has no name for."""

_MEMINFO = struct.Struct("=9I")
"""linux/sock_diag.h: SK_MEMINFO_DROPS is the ninth."""

Address = Any
"""`(host, port)` over UDP; a path (str), an abstract name (bytes) or None over UNIX sockets."""


class Allowances:
    """What may still be sent to each peer: kept in two halves, the older of which is let go in time.

    Args:
        seconds: a monotonic clock.
        kept_for: seconds for which at least, and at most twice, an allowance is kept.
        capacity: peers that are kept in each half.
    """

    __slots__ = ("_capacity", "_kept_for", "_newer", "_older", "_seconds", "_turned")

    def __init__(self, seconds: Callable[[], float], kept_for: float, capacity: int = MAX_OWED) -> None:
        self._seconds = seconds
        self._kept_for = kept_for
        self._capacity = capacity
        self._newer: dict[Address, int] = {}
        self._older: dict[Address, int] = {}
        self._turned = seconds()

    def grant(self, peer: Address, size: int, most: int) -> None:
        """Let `size` more bytes be sent to `peer`, `most` at most in all."""
        self._turn()
        held = self._newer.pop(peer, None)
        if held is None:
            held = self._older.pop(peer, 0)
        if held or len(self._newer) < self._capacity:
            self._newer[peer] = min(held + size, most)

    def spend(self, peer: Address, size: int) -> bool:
        """Whether `size` bytes may be sent to `peer`; if so they are spent."""
        self._turn()
        half = self._newer if peer in self._newer else self._older
        held = half.get(peer, -1)
        if held < size:
            return False
        half[peer] = held - size
        return True

    def _turn(self) -> None:
        now = self._seconds()
        if now - self._turned >= self._kept_for:
            fresh = now - self._turned < 2 * self._kept_for
            self._older = self._newer if fresh else {}
            self._newer = {}
            self._turned = now


@implementer(
    interfaces.IListeningPort,
    interfaces.IUDPTransport,
    interfaces.IReadDescriptor,
    interfaces.ISystemHandle,
    interfaces.ILoggingContext,
)
class DatagramPort:
    """One open datagram port: the reactor's reader and the plugin's transport.

    Args:
        bound: the open socket, read from its own descriptor.
        protocol: the plugin's.
        replies: what may be sent back.
        admission: who may send how much.
        own_ports: ports that this daemon receives datagrams on; shared by all, filled as they open.
        events: told about everything that happens.
        reactor: watches the socket.
    """

    def __init__(
        self,
        bound: BoundSocket,
        protocol: DatagramProtocol,
        replies: Replies,
        admission: Admission,
        own_ports: set[int],
        events: ServiceEvents,
        reactor: Any,
    ) -> None:
        self.socket = bound.socket
        self._send = bound.socket.sendto
        self._protocol = protocol
        self._admission = admission
        self._loops = Loops(reactor.seconds)
        self._answers = 0  # since one was looked at
        self._datagram = b""  # that is being delivered
        self._factor, self._floor, self._unasked = replies.factor, replies.floor, replies.unasked
        self._events = events
        self._reactor = reactor
        self._own_ports = own_ports
        self._started = False
        self._unix = self.socket.family == socket.AF_UNIX
        self._buffer = memoryview(bytearray(BUFFER_SIZE if self._unix else 0))
        self._allowances = Allowances(reactor.seconds, replies.kept_for)
        self._most_owed = max(16 * replies.floor, BUFFER_SIZE)
        self._peer: Address = None  # of the datagram that is being delivered
        self._allowance = -1  # bytes that may still go to it; -1 while none is being delivered

    # The port, as the reactor sees it.

    def startListening(self) -> None:
        """Open it to peers."""
        if not self._unix:
            self._own_ports.add(self.socket.getsockname()[1])
        try:
            self._protocol.makeConnection(self)
            self._started = True
        except BaseException:  # the port lives, whatever a plugin raises
            self._events.plugin_fault("startProtocol", Failure())
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None] | None:
        """Read no more; the socket itself belongs to whoever opened it."""
        self._reactor.removeReader(self)
        if not self._unix:
            self._own_ports.discard(self.socket.getsockname()[1])
        try:
            if self._started:
                self._protocol.doStop()
        except BaseException:  # a plugin may raise anything
            self._events.plugin_fault("stopProtocol", Failure())
        return None

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self.socket.fileno()

    def doRead(self) -> None:
        """Deliver what has arrived, a batch at most."""
        if self._unix:
            self._read_unix()
            return
        receive, deliver, own_ports = self.socket.recvfrom, self._deliver, self._own_ports
        admission = self._admission
        limited = admission.watched
        for _ in range(BATCH):
            try:
                # Into a new object of the longest size, which is then cut: cheaper than a copy from a buffer.
                datagram, address = receive(MAX_UDP)
            except BlockingIOError:
                return
            except OSError as error:  # the answer to something that was sent before; the port lives
                self._events.dropped(None, _errno_name(error))
                continue
            port = address[1]
            if port < FIRST_UNPRIVILEGED_PORT:
                self._events.dropped(address, "privileged port")
            elif port in own_ports:
                self._events.dropped(address, "own port")
            elif limited and (reason := admission.admit_datagram(address[0])):
                self._events.dropped(address, reason)
            else:
                # Without IPv6 flow and scope, which the host carries if it needs one.
                deliver(datagram, address if len(address) == 2 else address[:2])

    def _read_unix(self) -> None:
        for _ in range(BATCH):
            try:
                size, address = self.socket.recvfrom_into(self._buffer, BUFFER_SIZE, socket.MSG_TRUNC)
            except BlockingIOError:
                return
            except OSError as error:  # as above
                self._events.dropped(None, _errno_name(error))
                continue
            if size > BUFFER_SIZE:
                self._events.dropped(address, "too large")
            elif reason := self._admission.admit_datagram(None):
                self._events.dropped(address, reason)
            else:
                self._deliver(bytes(self._buffer[:size]), address)

    def _deliver(self, datagram: bytes, address: Address) -> None:
        allowance = len(datagram)
        self._events.datagrams_received += 1
        self._events.received += allowance
        if self._factor != 1:
            allowance = int(allowance * self._factor)
        if allowance < self._floor:
            allowance = self._floor
        if self._unasked:
            self._allowances.grant(address, allowance, self._most_owed)
        else:
            self._peer, self._allowance, self._datagram = address, allowance, datagram
        try:
            self._protocol.datagramReceived(datagram, address)
        except BaseException:  # the port lives, whatever a plugin raises
            self._events.plugin_fault("datagramReceived", Failure(), address)
        if self._allowance == allowance and allowance:  # not answered yet, perhaps it will be later
            self._allowances.grant(address, allowance, self._most_owed)
        self._allowance = -1

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IReadDescriptor has it
        """The reactor found the descriptor broken."""
        self._events.dropped(None, "port lost")

    def logPrefix(self) -> str:
        """What Twisted's log calls it."""
        return type(self._protocol).__name__

    # The plugin's transport.

    def write(self, datagram: bytes, addr: Address = None) -> None:
        """Send a reply, if the guard allows it."""
        size = len(datagram)
        if self._allowance >= 0 and (addr is self._peer or addr == self._peer):
            if size > self._allowance:
                self._events.dropped(addr, "reply too large")
                return
            self._answers += 1
            if self._answers >= LOOK_EVERY:
                self._answers = 0
                if datagram == self._datagram and self._loops.is_one(addr, datagram):
                    self._events.dropped(addr, "loop")
                    return
            self._allowance -= size
        elif not self._allowances.spend(addr, size):
            self._events.dropped(addr, "reply not owed")
            return
        try:
            self._send(datagram, addr)
        except OSError as error:  # a reply that cannot be sent is lost, as any datagram may be
            self._events.dropped(addr, _errno_name(error))
        except TypeError:
            if addr is not None:
                raise
            self._events.dropped(addr, "no return address")
        else:
            self._events.datagrams_sent += 1
            self._events.sent += size

    def writeSequence(self, seq: Iterable[bytes], addr: Address) -> None:
        """Send one reply made of pieces."""
        self.write(b"".join(seq), addr)

    def kernel_drops(self) -> int:
        """Datagrams that the kernel dropped since the socket was opened, for want of room."""
        info = self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
        drops: int = _MEMINFO.unpack(info)[8]
        return drops

    def getHost(self) -> Any:
        """The port's own address."""
        name = self.socket.getsockname()
        if self._unix:
            return UNIXAddress(name)
        kind = IPv6Address if self.socket.family == socket.AF_INET6 else IPv4Address
        return kind("UDP", *name[:2])

    def getHandle(self) -> socket.socket:
        """The socket."""
        return self.socket

    def connect(self, host: str, port: int) -> None:  # noqa: ARG002  # as IUDPTransport has it
        """Not for a server's port.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a port that serves many peers cannot be connected to one")

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """Whether replies may go to broadcast addresses."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, enabled)

    def getBroadcastAllowed(self) -> bool:
        """Whether replies may go to broadcast addresses."""
        return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
