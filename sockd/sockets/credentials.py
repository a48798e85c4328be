"""Credentials of the peer of a UNIX socket, as the kernel has noted them (unix(7))."""

from __future__ import annotations

import socket
import struct

UCRED = struct.Struct("=iII")
"""`struct ucred` of Linux: process, user, group."""


def peer_user(sock: socket.socket) -> int:
    """Return the number of the user at the other end of a stream, as of its connect(2) or listen(2).

    Raises:
        OSError: the socket is not a connected UNIX stream.
    """
    _, user, _ = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return int(user)
