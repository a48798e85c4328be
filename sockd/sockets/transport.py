"""Facts about a Twisted transport, read without a layer in the way of its data."""

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
"""Fields of Linux' struct tcp_info: milliseconds since data was last sent, and since it was last received."""

_QUEUE, _QUEUE_OFFSET = struct.Struct("=II"), 24
"""Fields of a listening socket: connections that wait to be accepted, and how many may wait."""

_COUNTS = struct.Struct("=B23xI92xQQ8xI52xQQ")
"""Fields: state (0), segments sent and not acknowledged (24), bytes acknowledged (120) and received (128),
not sent yet (144), sent (200), and of these sent again (208). Linux 4.19 and later."""

_FIN_WAIT1, _FIN_WAIT2, _TIME_WAIT, _CLOSE, _CLOSE_WAIT, _LAST_ACK, _CLOSING = 4, 5, 6, 7, 8, 9, 11
"""States of a TCP socket (net/tcp_states.h)."""

_PEER_ENDED = frozenset({_CLOSE_WAIT, _LAST_ACK, _CLOSING})
"""States in which the peer's FIN is counted as a byte received."""

_OUR_END_ACKED = frozenset({_FIN_WAIT2, _TIME_WAIT, _CLOSE})
"""States in which our own FIN is counted as a byte acknowledged."""

_END_UNACKED = frozenset({_FIN_WAIT1, _LAST_ACK, _CLOSING})
"""States in which our own FIN waits behind the unsent bytes, and is counted among them."""

_SO_PROTOCOL = 38
"""Option that reads a socket's protocol (asm-generic/socket.h); Python has no name for it."""

ASKED_BELOW = (
    *("getHost", "getHandle", "socket", "fileno", "reactor", "connected", "disconnected"),
    *("getTcpKeepAlive", "getTcpNoDelay", "setTcpKeepAlive", "setTcpNoDelay", "getWriteBufferSize"),
    *("TLS", "getPeerCertificate", "negotiatedProtocol", "sendFileDescriptor"),
    *("client", "hostname", "logstr", "server", "sessionno", "bufferSize", "isReading", "tcp_info"),
)
"""Names that protocols ask Twisted's transports for, besides those of `ITransport`."""

TCP_INFO_SIZE = 216
"""Bytes of struct tcp_info that hold all of these fields."""


def passes_on(below: str, *names: str) -> Callable[[_T], _T]:
    """Let a class answer these names with the attributes of the transport that it holds as `below`.

    Properties do it, because a `__getattr__` would make every other attribute of the class twice as slow.
    """

    def decorate(cls: _T) -> _T:
        for name in names:
            setattr(cls, name, property(attrgetter(f"{below}.{name}")))
        return cls

    return decorate


def unsent_bytes(transport: Any) -> int:
    """Return the bytes that a transport still holds. Twisted's own have no public name for it."""
    transport = getattr(transport, "raw", transport)  # below TLS, which holds nothing
    size = getattr(transport, "getWriteBufferSize", None)
    if size is not None:
        return int(size())
    held: int = getattr(transport, "_tempDataLen", 0)
    return held + len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)


def has_ended_writing(transport: Any) -> bool:
    """Tell whether our side of a stream has ended already.

    Twisted's own transports have no public name for it. Told to end it again they write nothing more, which
    the kernel refuses (EPIPE), and take the connection for lost.
    """
    return bool(getattr(transport, "_writeDisconnected", False))


def tcp_socket(transport: Any) -> socket.socket | None:
    """Return the socket of a TCP transport, whose idle time the kernel knows; None for any other."""
    handle = getattr(transport, "socket", None)
    inet = isinstance(handle, socket.socket) and handle.family in (socket.AF_INET, socket.AF_INET6)
    return handle if inet else None


def seconds_quiet(transport: Any) -> float:
    """Return how long no byte has moved in either direction, by the kernel's clock; 0 if it cannot tell."""
    handle = tcp_socket(transport)
    if handle is None:
        return 0.0
    info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_OFFSET + _LAST_DATA.size)
    sent, received = _LAST_DATA.unpack_from(info, _LAST_DATA_OFFSET)
    return float(min(sent, received)) / 1000


def queue_length(listening: socket.socket) -> tuple[int, int]:
    """Return how many connections wait to be accepted on a TCP socket, and how many may wait."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUE_OFFSET + _QUEUE.size)
    waiting, most = _QUEUE.unpack_from(info, _QUEUE_OFFSET)
    return waiting, most


def counts_bytes(sock: socket.socket) -> bool:
    """Tell whether TCP_INFO describes all of a connection that this socket accepts.

    UNIX sockets have no TCP_INFO, and that of MPTCP describes the first path alone.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return sock.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL) == socket.IPPROTO_TCP


def bytes_moved(transport: Any, *, done: bool = False) -> tuple[int, int]:
    """Return the bytes received and sent over TCP, as the kernel counts them; zeros where it cannot tell.

    Sent bytes are those that the kernel has taken, acknowledged or not: what it still holds at an orderly
    end is delivered afterwards. Under TLS the encrypted bytes are counted.

    Args:
        transport: the reactor's, or the TLS stream on top of it.
        done: whether both sides have ended in order.
    """
    ask = getattr(getattr(transport, "raw", transport), "tcp_info", None)
    info = ask() if ask is not None else b""
    if len(info) < _COUNTS.size:
        return 0, 0
    state, unacked, acknowledged, received, unsent, sent, again = _COUNTS.unpack_from(info)
    if state in _PEER_ENDED or (state == _CLOSE and done):
        received -= 1
    if not (unacked or unsent) and (state != _CLOSE or done):
        # Exact; the other result counts segments twice that the local queue has dropped.
        return received, acknowledged - (state in _OUR_END_ACKED)
    return received, sent - again + unsent - (unsent > 0 and state in _END_UNACKED)


_ENDS: Mapping[Any, str] = {ConnectionDone: "peer closed", ConnectionAborted: "aborted"}


def why_lost(reason: Failure) -> str:
    """Return the reason of a lost connection in sockd's words."""
    return _ENDS.get(reason.type, "reset")
