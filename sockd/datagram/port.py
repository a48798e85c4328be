"""Open datagram port, as the reactor, the plugin and the service see it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Any

from twisted.internet import interfaces
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.datagram.allowances import Allowances
from sockd.datagram.asked import Asked
from sockd.datagram.batch import BatchWire
from sockd.datagram.local import LocalWire
from sockd.datagram.loops import LOOK_EVERY, OWN, PLAIN, PRIVILEGED, WATCHED, Loops
from sockd.datagram.single import AskedWire, SingleWire
from sockd.datagram.wire import Address, Destination, Wire
from sockd.limits import Admission
from sockd.plugin import IDrained, Replies
from sockd.sockets.open import BoundSocket
from sockd.telemetry.events import ServiceEvents

REFUSED = {OWN: "own port", PRIVILEGED: "privileged port"}
"""Reasons for dropping datagrams from source ports of these kinds."""

SO_MEMINFO = 55
"""Number of Linux (asm-generic/socket.h); Python has no name for it."""

_MEMINFO = struct.Struct("=9I")
"""Counters of linux/sock_diag.h; SK_MEMINFO_DROPS is the ninth."""

MOST_OWED = 256 * 1024
"""Bytes that may be owed to one peer, unless the service's floor allows more."""

BUSY = 8
"""Datagrams in one turn from which on the next turn reads them with one system call."""


@implementer(
    interfaces.IListeningPort,
    interfaces.IUDPTransport,
    interfaces.IReadDescriptor,
    interfaces.ISystemHandle,
    interfaces.ILoggingContext,
)
class DatagramPort:
    """Open datagram port: the reactor's reader and the plugin's transport.

    Args:
        bound: the open socket.
        protocol: the plugin's.
        replies: bounds of what may be sent back.
        admission: limits of what each source may send.
        loops: peers that may be services; shared by all ports.
        events: counts and logs what happens.
        reactor: watches the socket.

    Attributes:
        without_log_context: whether the protocol needs no prefix for lines of Twisted's old log.
    """

    def __init__(
        self,
        bound: BoundSocket,
        protocol: DatagramProtocol,
        replies: Replies,
        admission: Admission,
        loops: Loops,
        events: ServiceEvents,
        reactor: Any,
    ) -> None:
        self.socket = bound.socket
        self._unix = self.socket.family == socket.AF_UNIX
        self._arrived = 0  # datagrams in the last turn
        self._protocol = protocol
        self.without_log_context: bool = getattr(protocol, "without_log_context", False)
        self._admission = admission
        self._loops = loops
        self._received = 0  # datagrams since the last check for loops
        self._watched = False  # whether the peer may be a service that answers us
        self.allow(replies)
        self._events = events
        self._quiet, self._busy = self._wires()
        self._wire: Wire = self._quiet  # except while a batch is delivered
        self._reactor = reactor
        self._started = False
        self._allowances = Allowances(reactor.seconds, replies.kept_for)
        # The peer of the datagram that is being delivered, and the bytes that may still be sent for it;
        # -1 between datagrams.
        self._peer: Address = None
        self._destination: Destination = None
        self._allowance = -1

    def allow(self, replies: Replies) -> None:
        """Change how much may be sent back, from the next datagram on. `kept_for` stays as it was."""
        self._factor, self._floor, self._unasked = replies.factor, replies.floor, replies.unasked
        self._most_owed = max(16 * replies.floor, MOST_OWED)

    def _wires(self) -> tuple[Wire, Wire]:
        """Return the wires for a quiet and for a busy socket."""
        if self._unix:
            local = LocalWire(self.socket, self._events)
            return local, local
        asked = Asked.of(self.socket)
        busy = BatchWire(self.socket, self._events, asked)
        if asked is None:
            return SingleWire(self.socket, self._events), busy
        return AskedWire(self.socket, self._events, asked), busy

    # As a port of the reactor.

    def startListening(self) -> None:
        """Start the protocol and read datagrams."""
        try:
            self._protocol.makeConnection(self)
            self._started = True
        except BaseException:  # the port stays open, whatever a plugin raises
            self._events.plugin_fault("startProtocol", Failure())
        self.start_reading()

    def stopListening(self) -> Deferred[None] | None:
        """Stop reading and stop the protocol; the owner of the socket closes it."""
        self.stop_reading()
        try:
            if self._started:
                self._protocol.doStop()
        except BaseException:  # a plugin may raise anything
            self._events.plugin_fault("stopProtocol", Failure())
        return None

    def drain(self) -> Deferred[None] | None:
        """Have the protocol end what it has begun, if it can; return what fires then."""
        if not (self._started and IDrained.providedBy(self._protocol)):
            return None
        try:
            drained: Deferred[None] = self._protocol.drain()
        except BaseException:  # a plugin may raise anything
            self._events.plugin_fault("drain", Failure())
            return None
        return drained

    def stop_reading(self) -> None:
        """Leave what arrives in the kernel, as far as the socket's buffer holds it."""
        self._reactor.removeReader(self)

    def start_reading(self) -> None:
        """Deliver what arrives."""
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """Return the descriptor that the reactor watches."""
        return self.socket.fileno()

    def doRead(self) -> None:
        """Deliver what has arrived, at most a batch."""
        deliver, unix, kinds = self._deliver, self._unix, self._loops.kinds
        admission, dropped = self._admission, self._events.dropped
        limited, now = admission.watched, self._reactor.seconds()
        wire = self._wire = self._busy if self._arrived >= BUSY else self._quiet
        count = size = 0
        try:
            for datagram, address, destination in wire.receive():
                if unix:
                    host, kind = None, WATCHED if address in self._loops.local else PLAIN
                else:
                    host, port = address
                    kind = kinds[port]
                if kind > WATCHED:
                    dropped(address, REFUSED[kind])
                    continue
                if limited and (reason := admission.admit_datagram(host, now)):
                    dropped(address, reason)
                    continue
                if kind:
                    self._loops.heard(address, datagram)
                    self._watched = True
                count += 1
                size += len(datagram)
                deliver(datagram, address, destination, now)
        finally:
            wire.flush()
            self._arrived = wire.arrived
            self._wire, self._peer, self._destination = self._quiet, None, None
            self._events.datagrams_received += count
            self._events.received += size
            self._received += count
            if self._received >= LOOK_EVERY and count:
                self._received = 0
                self._loops.look(address, datagram)

    def _deliver(self, datagram: bytes, address: Address, destination: Destination, now: float) -> None:
        allowance = len(datagram)
        if self._factor != 1:
            allowance = int(allowance * self._factor)
        if allowance < self._floor:
            allowance = self._floor
        self._peer, self._destination, self._allowance = address, destination, allowance
        try:
            self._protocol.datagramReceived(datagram, address)
        except BaseException:  # the port stays open, whatever a plugin raises
            self._events.plugin_fault("datagramReceived", Failure(), address)
        # What is left is kept for a later reply: of a datagram that is not answered yet, or `unasked`.
        if self._allowance > 0 and (self._unasked or self._allowance == allowance):
            route = self._wire.route(destination)
            self._allowances.grant(address, self._allowance, self._most_owed, route, now)
        self._allowance = -1
        self._watched = False

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IReadDescriptor has it
        """Count the loss of the descriptor, which the reactor found broken."""
        self._events.dropped(None, "port lost")

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return type(self._protocol).__name__

    # As the plugin's transport.

    def write(self, datagram: bytes, addr: Address = None) -> None:
        """Send a reply, if the guard allows it; the replies to one batch of datagrams are sent together."""
        size = len(datagram)
        if self._allowance >= 0 and (addr is self._peer or addr == self._peer):
            if size > self._allowance:
                self._write_more(datagram, addr)
                return
            if self._watched and not self._loops.may_answer(addr, datagram):
                self._events.dropped(addr, "loop")
                return
            self._allowance -= size
            self._wire.send(datagram, self._destination)
        else:
            self._write_later(datagram, addr)

    def _write_more(self, datagram: bytes, addr: Address) -> None:
        """Send a reply that is larger than its datagram allows, if earlier ones have left enough."""
        if not self._unasked:
            self._events.dropped(addr, "reply too large")
            return
        left, self._allowance = self._allowance, 0
        self._allowances.grant(addr, left, self._most_owed, self._wire.route(self._destination))
        self._write_later(datagram, addr)

    def _write_later(self, datagram: bytes, addr: Address) -> None:
        """Send a reply to an earlier datagram, or one of a service that sends `unasked`."""
        route = self._allowances.spend(addr, len(datagram))
        if route is None:
            self._events.dropped(addr, "reply not owed")
        elif self._loops.watches(addr) and not self._loops.may_answer(addr, datagram):
            self._events.dropped(addr, "loop")
        else:
            own = addr is self._peer or addr == self._peer
            self._wire.send(datagram, self._destination if own else self._wire.destination(addr, route))

    def writeSequence(self, seq: Iterable[bytes], addr: Address) -> None:
        """Send one reply made of pieces."""
        self.write(b"".join(seq), addr)

    def kernel_drops(self) -> int:
        """Return how many datagrams the kernel has dropped for want of buffer since the socket was opened."""
        info = self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
        drops: int = _MEMINFO.unpack(info)[8]
        return drops

    def getHost(self) -> Any:
        """Return the port's own address."""
        name = self.socket.getsockname()
        if self._unix:
            return UNIXAddress(name)
        kind = IPv6Address if self.socket.family == socket.AF_INET6 else IPv4Address
        return kind("UDP", *name[:2])

    def getHandle(self) -> socket.socket:
        """Return the socket."""
        return self.socket

    def connect(self, host: str, port: int) -> None:  # noqa: ARG002  # as IUDPTransport has it
        """Refuse: a server's port has many peers.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a port that serves many peers cannot be connected to one")

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """Set whether replies may go to broadcast addresses."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, enabled)

    def getBroadcastAllowed(self) -> bool:
        """Tell whether replies may go to broadcast addresses."""
        return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
