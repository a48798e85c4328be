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

_COUNTS = struct.Struct("=B23xI92xQQ8xI52xQQ")
"""The state (0), segments sent and not acknowledged (24), bytes acknowledged (120) and received (128), not
sent yet (144), sent (200), and of these sent again (208). Linux 4.19 and later."""

_FIN_WAIT1, _FIN_WAIT2, _TIME_WAIT, _CLOSE, _CLOSE_WAIT, _LAST_ACK, _CLOSING = 4, 5, 6, 7, 8, 9, 11
"""States of a TCP socket (net/tcp_states.h)."""

_PEER_ENDED = frozenset({_CLOSE_WAIT, _LAST_ACK, _CLOSING})
"""The peer's FIN was counted as a byte received."""

_OUR_END_ACKED = frozenset({_FIN_WAIT2, _TIME_WAIT, _CLOSE})
"""Our own FIN was counted as a byte acknowledged."""

_END_UNACKED = frozenset({_FIN_WAIT1, _LAST_ACK, _CLOSING})
"""Our own FIN waits behind the bytes that are not sent, and is counted among them."""

_SO_PROTOCOL = 38
"""The option that tells a socket's protocol (asm-generic/socket.h), which Python has no name for."""

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


def counts_bytes(sock: socket.socket) -> bool:
    """Whether TCP_INFO describes all of a connection that this socket accepts.

    Of UNIX sockets there is none, and of MPTCP it describes the first path alone.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return sock.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL) == socket.IPPROTO_TCP


def bytes_moved(transport: Any, *, done: bool = False) -> tuple[int, int]:
    """How many bytes were received and sent over TCP, as the kernel counts them; zeros where it cannot tell.

    Sent is what the kernel has taken, whether or not the peer has acknowledged it: what it still holds at
    an orderly end is delivered afterwards. Under TLS these are the encrypted ones.

    Args:
        transport: the reactor's, or what encrypts on top of it.
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
        # Exact; of what is sent, segments that the local queue has dropped are counted twice.
        return received, acknowledged - (state in _OUR_END_ACKED)
    return received, sent - again + unsent - (unsent > 0 and state in _END_UNACKED)


_ENDS: Mapping[Any, str] = {ConnectionDone: "peer closed", ConnectionAborted: "aborted"}


def why_lost(reason: Failure) -> str:
    """In sockd's words."""
    return _ENDS.get(reason.type, "reset")
