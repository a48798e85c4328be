"""Local address that a datagram was sent to, so that the answer leaves from it.

A port of all addresses would answer from the address that the kernel finds nearest; a client that is
connected to another one never gets that answer. IP_PKTINFO (ip(7)) and IPV6_PKTINFO (RFC 3542, 6) report the
address with each datagram, and take it with each answer.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sockd.datagram.wire import Route

IP_PKTINFO = 8
"""Number of Linux (linux/in.h); Python has no name for it."""

EVERY = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

_HEADER = struct.Struct("@Nii")
"""`struct cmsghdr`: length, level, type."""

_IPV4, _IPV6 = struct.Struct("=i4s4s"), struct.Struct("=16sI")
"""`struct in_pktinfo`: interface, address to send from, address that was asked; `struct in6_pktinfo`: that
address, interface."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Control message of one address family.

    Attributes:
        level: of the message.
        kind: its type, at that level.
        form: its content.
    """

    level: int
    kind: int
    form: struct.Struct

    @classmethod
    def of(cls, sock: socket.socket) -> Asked | None:
        """Let a socket of all addresses report the address asked; None for a socket of one address."""
        if sock.family == socket.AF_UNIX or sock.getsockname()[0] not in EVERY:
            return None
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            return cls(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IPV6)
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        return cls(socket.IPPROTO_IP, IP_PKTINFO, _IPV4)

    @property
    def control_size(self) -> int:
        """Bytes of the message with its header (`CMSG_SPACE`)."""
        return socket.CMSG_SPACE(self.form.size)

    def route(self, control: Iterable[tuple[int, int, bytes]]) -> Route:
        """Extract the route of an answer from what `recvmsg` gave."""
        for level, kind, content in control:
            if (level, kind, len(content)) == (self.level, self.kind, self.form.size):
                return self._back(content)
        return b""

    def message(self, route: Route) -> Sequence[tuple[int, int, bytes]]:
        """Make the control messages of an answer for `sendmsg`."""
        return ((self.level, self.kind, route),) if route else ()

    def block(self, route: Route) -> bytes:
        """Make the control message in the kernel's form; without a route the kernel chooses the address."""
        content = route or bytes(self.form.size)
        header = _HEADER.pack(_HEADER.size + len(content), self.level, self.kind)
        return (header + content).ljust(self.control_size, b"\0")

    def route_of(self, block: bytes) -> Route:
        """Extract the route of an answer from a control message in the kernel's form."""
        _, level, kind = _HEADER.unpack_from(block)
        return self.route(((level, kind, block[_HEADER.size :][: self.form.size]),))

    def _back(self, content: bytes) -> Route:
        """Turn a message's content into that of its answer; a second time changes nothing.

        Only a link-local address is bound to the interface that was asked on.
        """
        fields: tuple[Any, ...] = self.form.unpack(content)
        if self.form is _IPV4:
            return _IPV4.pack(0, fields[2] if any(fields[2]) else fields[1], bytes(4))
        address, interface = fields
        link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
        return _IPV6.pack(address, interface if link_local else 0)
