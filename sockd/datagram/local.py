"""Datagrams of a UNIX socket (unix(7)), with answers only to the user that has sent them.

A sender chooses the path that its answers go to. The path could be a symbolic link, or a socket of another
user that has replaced the sender's, and this process may have rights that the sender has not. So an answer
goes only to a socket that the sender's user owns; it is found without following a link, and sent through a
descriptor of it. A socket that answers by itself gets none.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator

from sockd.datagram.wire import BATCH, Address, Route, error_name
from sockd.sockets.credentials import UCRED
from sockd.sockets.open import SERVICE_BIT
from sockd.telemetry.events import ServiceEvents

MAX_UNIX = 256 * 1024
"""Bytes of a UNIX datagram at most; the sender's buffer, 208 KiB by default, bounds it too."""

_USER = struct.Struct("=I")

Destination = tuple[Address, Route]
"""Address of a peer and its user, packed; empty if the kernel does not tell."""


class LocalWire:
    """Wire for UNIX sockets, one datagram with each call.

    Args:
        sock: open and non-blocking.
        events: counts datagrams sent and dropped.
    """

    __slots__ = ("_events", "_room", "_socket", "arrived")

    def __init__(self, sock: socket.socket, events: ServiceEvents) -> None:
        self.arrived = 0
        self._socket = sock
        self._events = events
        self._room = socket.CMSG_SPACE(UCRED.size)  # none for descriptors: the kernel closes them
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def receive(self) -> Iterator[tuple[bytes, Address, Destination]]:
        """Implement `Wire.receive`; a datagram of more than `MAX_UNIX` bytes is dropped whole."""
        receive, room = self._socket.recvmsg, self._room
        for self.arrived in range(BATCH):
            try:
                datagram, control, _, address = receive(MAX_UNIX + 1, room)
            except BlockingIOError:
                return
            except OSError as error:  # error of an earlier answer
                self._events.dropped(None, error_name(error.errno))
                continue
            if len(datagram) > MAX_UNIX:
                self._events.dropped(address, "too large")
            else:
                yield datagram, address, (address, _user(control))

    def send(self, datagram: bytes, destination: Destination) -> None:
        """Implement `Wire.send`; sends at once."""
        address, user = destination
        if address is None:
            self._events.dropped(None, "no return address")
            return
        try:
            if type(address) is str:
                size = self._send_to_path(datagram, address, user)
            else:  # an abstract name is no file: it has no owner and no mode
                size = self._socket.sendto(datagram, address)
        except OSError as error:
            self._events.dropped(address, error_name(error.errno))
            return
        if size is not None:
            self._events.datagrams_sent += 1
            self._events.sent += size

    def flush(self) -> None:
        """Implement `Wire.flush`; does nothing, because no datagram waits."""

    def destination(self, address: Address, route: Route = b"") -> Destination:
        """Implement `Wire.destination`."""
        return address, route

    def route(self, destination: Destination) -> Route:
        """Implement `Wire.route`: the sending user."""
        return destination[1]

    def _send_to_path(self, datagram: bytes, path: str, user: Route) -> int | None:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if reason := _refusal(os.fstat(descriptor), user):
                self._events.dropped(path, reason)
                return None
            # The path may lead elsewhere by now; the descriptor is the socket that was checked.
            return self._socket.sendto(datagram, f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


def _user(control: list[tuple[int, int, bytes]]) -> Route:
    """Return the sending user, packed; empty if the datagram came before credentials were asked for."""
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            process, user, _ = UCRED.unpack(content)
            return _USER.pack(user) if process else b""
    return b""


def _refusal(found: os.stat_result, user: Route) -> str:
    """Say why the file at a sender's path gets no answer; empty if it gets one."""
    if not stat.S_ISSOCK(found.st_mode):
        return "return address is no socket"
    if found.st_mode & SERVICE_BIT:
        return "return address is a service"
    if user not in (_USER.pack(found.st_uid), _USER.pack(0)):
        return "return address is another user's"
    return ""
