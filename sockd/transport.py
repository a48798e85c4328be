"""What can be learnt of a Twisted transport without standing in the way of its data."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, TypeVar

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.python.failure import Failure

_T = TypeVar("_T", bound=type)

_LAST_DATA, _LAST_DATA_OFFSET = struct.Struct("=I4xI"), 44
"""In Linux' struct tcp_info: milliseconds since data was last sent, and since it was last received."""

_QUEUE, _QUEUE_OFFSET = struct.Struct("=II"), 24
"""Of a listening socket: how many connections wait to be accepted, and how many may."""

_RECEIVED, _RECEIVED_OFFSET = struct.Struct("=Q"), 128
_SENT, _SENT_OFFSET = struct.Struct("=QQ"), 200
"""Bytes received; sent, and of these sent again. Linux 4.2 and 4.19 and later."""

_PEER_ENDED = frozenset({8, 9})
"""CLOSE_WAIT and LAST_ACK: the peer's FIN was counted as a byte received."""

ASKED_BELOW = (
    *("getHost", "getHandle", "socket", "fileno", "reactor", "connected", "disconnected"),
    *("getTcpKeepAlive", "getTcpNoDelay", "setTcpKeepAlive", "setTcpNoDelay", "getWriteBufferSize"),
    *("TLS", "getPeerCertificate", "negotiatedProtocol", "sendFileDescriptor"),
    *("client", "hostname", "logstr", "server", "sessionno", "bufferSize", "isReading", "tcp_info"),
)
"""What protocols ask of Twisted's transports, beside what is in `ITransport`."""

TCP_INFO_SIZE = 216
"""Bytes of struct tcp_info that hold all of these."""


def passes_on(below: str, *names: str) -> Callable[[_T], _T]:
    """Let a class answer these names with what the transport that it holds as `below` has of them.

    By properties, for a `__getattr__` would make every other attribute of the class twice as slow.
    """

    def decorate(cls: _T) -> _T:
        for name in names:
            setattr(cls, name, property(attrgetter(f"{below}.{name}")))
        return cls

    return decorate


def unsent_bytes(transport: Any) -> int:
    """How much of what was written it still holds. Twisted's own have no public names for it."""
    transport = getattr(transport, "raw", transport)  # below TLS, which holds nothing
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


def seconds_quiet(transport: Any) -> float:
    """How long no byte has moved in either direction, by the kernel's own clock; 0 if it cannot tell."""
    handle = tcp_socket(transport)
    if handle is None:
        return 0.0
    info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_OFFSET + _LAST_DATA.size)
    sent, received = _LAST_DATA.unpack_from(info, _LAST_DATA_OFFSET)
    return float(min(sent, received)) / 1000


def queue_length(listening: socket.socket) -> tuple[int, int]:
    """How many connections wait to be accepted on a TCP socket, and how many may."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUE_OFFSET + _QUEUE.size)
    waiting, most = _QUEUE.unpack_from(info, _QUEUE_OFFSET)
    return waiting, most


def bytes_moved(transport: Any) -> tuple[int, int]:
    """How many bytes were received and sent over TCP, as the kernel counts them; zeros where it cannot tell.

    Under TLS these are the encrypted ones. What was sent may not have arrived; where our side ended before
    the peer's, the end counts as a byte received.
    """
    ask = getattr(getattr(transport, "raw", transport), "tcp_info", None)
    info = ask() if ask is not None else b""
    if len(info) < _SENT_OFFSET + _SENT.size:
        return 0, 0
    (received,) = _RECEIVED.unpack_from(info, _RECEIVED_OFFSET)
    sent, again = _SENT.unpack_from(info, _SENT_OFFSET)
    return received - (info[0] in _PEER_ENDED), sent - again


_ENDS: Mapping[Any, str] = {ConnectionDone: "peer closed", ConnectionAborted: "aborted"}


def why_lost(reason: Failure) -> str:
    """In sockd's words."""
    return _ENDS.get(reason.type, "reset")
