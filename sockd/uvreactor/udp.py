"""UDP ports with a short loop between the socket and the protocol.

uvloop's own datagram transport is not used: it drops empty datagrams, queues without bound, and is no faster
than a short loop around `recvfrom`.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet import udp
from twisted.internet.error import MessageLengthError
from twisted.python import log
from typing_extensions import override

BATCH = 64
"""Datagrams delivered in one turn of the loop, so that a flood does not starve the others."""

KNOWN_PEERS = 1024
"""Addresses that were checked and are valid; beyond that all are dropped and checked again."""


class UDPPort(udp.Port):
    """UDP port."""

    _known: frozenset[str] | set[str] = frozenset()

    @override
    def doRead(self) -> None:
        receive, size, received = self.socket.recvfrom, self.maxPacketSize, self.protocol.datagramReceived
        inet6 = self.addressFamily == socket.AF_INET6
        left = self.maxThroughput
        for _ in range(BATCH):
            try:
                datagram, address = receive(size)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ECONNREFUSED and self._connectedAddr:
                    self.protocol.connectionRefused()
                # Otherwise an ICMP error for an earlier datagram to one of many peers: the port stays open.
                return
            try:
                received(datagram, address[:2] if inet6 else address)
            except BaseException:  # application code may raise anything
                log.err()
            left -= len(datagram)
            if left <= 0 or not self.connected:
                return

    @override
    def write(self, datagram: bytes, addr: tuple[str, int] | None = None) -> Any:
        if self._connectedAddr or addr is None or addr[0] not in self._known:
            sent = super().write(datagram, addr)  # checks the address
            if addr is not None and not self._connectedAddr:
                self._remember(addr[0])
            return sent
        try:
            return self.socket.sendto(datagram, addr)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise MessageLengthError("message too long") from None
            if error.errno != errno.ECONNREFUSED:
                raise
        return None

    def _remember(self, host: str) -> None:
        if not isinstance(self._known, set):
            self._known = set()
        elif len(self._known) >= KNOWN_PEERS:
            self._known.clear()
        self._known.add(host)


class MulticastPort(UDPPort, udp.MulticastPort):
    """UDP port that can join groups."""
