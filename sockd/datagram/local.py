"""Datagrams of a UNIX socket (unix(7)), answered to nobody but who has sent them.

A sender chooses the path that its answers go to. It could be a symbolic link, or a socket that has taken the
place of its own, and this process may have rights that the sender has not. So an answer goes only to a socket
that the sender's user owns, found without following a link and reached through a descriptor of it; and never
to a socket that answers by itself.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator

from sockd.datagram.wire import BATCH, Address, Route, error_name
from sockd.sockets.open import SERVICE_BIT
from sockd.telemetry.events import ServiceEvents

MAX_UNIX = 256 * 1024
"""Bytes. A UNIX datagram is bounded by the sender's buffer, 208 KiB."""

_CREDENTIALS = struct.Struct("=iII")
"""`struct ucred`: process, user, group."""

_USER = struct.Struct("=I")

Name = tuple[Address, Route]
"""A peer's address and its user, packed; empty if the kernel does not tell."""


class LocalWire:
    """For UNIX sockets, one datagram with each call.

    Args:
        sock: open, and never waits.
        events: told about what is lost, and what has gone.
    """

    __slots__ = ("_events", "_room", "_socket", "arrived")

    def __init__(self, sock: socket.socket, events: ServiceEvents) -> None:
        self.arrived = 0
        self._socket = sock
        self._events = events
        self._room = socket.CMSG_SPACE(_CREDENTIALS.size)  # for no descriptors, which the kernel closes then
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def receive(self) -> Iterator[tuple[bytes, Address, Name]]:
        """Implement `Wire.receive`; a datagram of more than `MAX_UNIX` bytes is dropped whole."""
        receive, room = self._socket.recvmsg, self._room
        for self.arrived in range(BATCH):
            try:
                datagram, control, _, address = receive(MAX_UNIX + 1, room)
            except BlockingIOError:
                return
            except OSError as error:  # the answer to something that was sent before
                self._events.dropped(None, error_name(error.errno))
                continue
            if len(datagram) > MAX_UNIX:
                self._events.dropped(address, "too large")
            else:
                yield datagram, address, (address, _user(control))

    def send(self, datagram: bytes, name: Name) -> None:
        """Implement `Wire.send`: at once."""
        address, user = name
        if address is None:
            self._events.dropped(None, "no return address")
            return
        try:
            if type(address) is str:
                size = self._send_to_path(datagram, address, user)
            else:  # an abstract name is no file, has no owner and no rights
                size = self._socket.sendto(datagram, address)
        except OSError as error:
            self._events.dropped(address, error_name(error.errno))
            return
        if size is not None:
            self._events.datagrams_sent += 1
            self._events.sent += size

    def flush(self) -> None:
        """Implement `Wire.flush`: nothing waits."""

    def name(self, address: Address, route: Route = b"") -> Name:
        """Implement `Wire.name`."""
        return address, route

    def route(self, name: Name) -> Route:
        """Implement `Wire.route`: the user who has sent the datagram."""
        return name[1]

    def _send_to_path(self, datagram: bytes, path: str, user: Route) -> int | None:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if reason := _refusal(os.fstat(descriptor), user):
                self._events.dropped(path, reason)
                return None
            # Whatever the path leads to by now, this is what has been looked at.
            return self._socket.sendto(datagram, f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


def _user(control: list[tuple[int, int, bytes]]) -> Route:
    """The sending user, packed; empty if the datagram came before credentials were asked for."""
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            process, user, _ = _CREDENTIALS.unpack(content)
            return _USER.pack(user) if process else b""
    return b""


def _refusal(found: os.stat_result, user: Route) -> str:
    """Why the file at a sender's path is not answered; empty if it is."""
    if not stat.S_ISSOCK(found.st_mode):
        return "return address is no socket"
    if found.st_mode & SERVICE_BIT:
        return "return address is a service"
    if user not in (_USER.pack(found.st_uid), _USER.pack(0)):
        return "return address is another user's"
    return ""
