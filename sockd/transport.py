"""What can be learnt of a Twisted transport without standing in the way of its data."""

from __future__ import annotations

import socket
import struct
from typing import Any

_LAST_DATA, _LAST_DATA_OFFSET, _TCP_INFO_SIZE = struct.Struct("=I4xI"), 44, 56
"""In Linux' struct tcp_info: milliseconds since data was last sent, and since it was last received."""


def unsent_bytes(transport: Any) -> int:
    """How much of what was written it still holds. Twisted's own have no public names for it."""
    size = getattr(transport, "getWriteBufferSize", None)
    if size is not None:
        return int(size())
    held: int = getattr(transport, "_tempDataLen", 0)
    return held + len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)


def tcp_socket(transport: Any) -> socket.socket | None:
    """Its socket, if the kernel knows when data last moved: of TCP it does, of UNIX sockets it does not."""
    handle = getattr(transport, "socket", None)
    inet = isinstance(handle, socket.socket) and handle.family in (socket.AF_INET, socket.AF_INET6)
    return handle if inet else None


def seconds_quiet(handle: socket.socket) -> float:
    """How long no byte has moved over a TCP socket in either direction, by the kernel's own clock."""
    info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    sent, received = _LAST_DATA.unpack_from(info, _LAST_DATA_OFFSET)
    return float(min(sent, received)) / 1000
