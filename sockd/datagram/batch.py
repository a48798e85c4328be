"""Datagrams of a busy UDP socket, many with one system call: recvmmsg(2), sendmmsg(2).

Python has neither. On a port of all addresses each answer leaves from the address that was asked. Python's
`recvfrom` and `sendto` also turn each address from the kernel's form into text and back; here that is done
once for each peer. A batch pays from about five datagrams on.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate, chain
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

from sockd.datagram.asked import Asked
from sockd.datagram.wire import BATCH, MAX_UDP, Address, Route, error_name, zoned
from sockd.telemetry.events import ServiceEvents

MOST_WAITING = 32
"""Replies that wait to go with one system call. More would gain little, and each waits for its successors."""

MOST_KNOWN = 4096
"""Peers whose addresses are kept as text; beyond that all are dropped and converted again."""


class _Vector(ctypes.Structure):
    """`struct iovec`: address and size of a datagram."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """`struct mmsghdr`: a header, and the size of the datagram received by it."""

    _fields_ = (("header", _Header), ("size", ctypes.c_uint))


_MESSAGE_SIZE = ctypes.sizeof(_Message)
_LOWER_HALF = (
    0 if sys.byteorder == "little" else ctypes.sizeof(ctypes.c_size_t) - ctypes.sizeof(ctypes.c_uint)
)
_C = ctypes.CDLL(None, use_errno=True)
_C.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_C.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class _Messages:
    """Kernel structures of one batch: a name, a vector and a header for each datagram.

    Args:
        name_size: bytes of a `sockaddr`.
        control_size: bytes of the control message that follows each, after padding; 0 for none.
    """

    def __init__(self, name_size: int, control_size: int) -> None:
        slot = _slot(name_size, control_size)
        self.names = bytearray(BATCH * slot)
        self._vectors = (_Vector * BATCH)()
        self._headers = (_Message * BATCH)()
        self.vectors, self.address = memoryview(self._vectors).cast("B"), ctypes.addressof(self._headers)
        step = ctypes.sizeof(ctypes.c_uint)
        numbers = memoryview(self._headers).cast("B").cast("I")
        self.sizes = numbers[_Message.size.offset // step :: _MESSAGE_SIZE // step]
        # The kernel writes the used size into these; every size fits into the lower half of the field.
        self.control_sizes = numbers[
            (_Message.header.offset + _Header.control_size.offset + _LOWER_HALF) // step :: _MESSAGE_SIZE
            // step
        ]
        self.full = memoryview(array("I", [control_size] * BATCH))
        names = ctypes.addressof(ctypes.c_char.from_buffer(self.names))
        for number, message in enumerate(self._headers):
            message.header.name, message.header.name_size = names + number * slot, name_size
            if control_size:
                message.header.control = names + (number + 1) * slot - control_size
                message.header.control_size = control_size
            message.header.vectors = ctypes.addressof(self._vectors) + number * ctypes.sizeof(_Vector)
            message.header.vector_count = 1

    def place(self, base: int, sizes: Sequence[int]) -> None:
        """Place the datagrams one behind the other from address `base` on."""
        placed = chain.from_iterable(zip(accumulate(sizes, initial=base), sizes, strict=False))
        _repeated("PN", len(sizes)).pack_into(self.vectors, 0, *placed)


class _Room:
    """Memory for one batch each way. All ports of a family share it: one call is over before the next."""

    def __init__(self, name_size: int, control_size: int) -> None:
        self.incoming, self.outgoing = _Messages(name_size, control_size), _Messages(name_size, control_size)
        self.starts = range(0, BATCH * MAX_UDP, MAX_UDP)
        # Only pages that were used once take memory. Private, so that two processes never share it.
        self.content = mmap(-1, BATCH * MAX_UDP, MAP_PRIVATE | MAP_ANONYMOUS)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.content))
        self.incoming.place(base, [MAX_UDP] * BATCH)


@cache
def _room(name_size: int, control_size: int) -> _Room:
    return _Room(name_size, control_size)


def _slot(name_size: int, control_size: int) -> int:
    """Return the bytes of a name with its control message, which is aligned as by `CMSG_ALIGN`."""
    return -(-name_size // 8) * 8 + control_size if control_size else name_size


@cache
def _repeated(form: str, count: int) -> struct.Struct:
    """Return a structure of `count` times `form`, in native size and order; at most `BATCH` of each form."""
    return struct.Struct(form * count)


def _routed(name: bytes, block: bytes) -> bytes:
    return name.ljust(_slot(len(name), len(block)) - len(block), b"\0") + block


class BatchWire:
    """Wire for UDP sockets with batches. A destination is a `sockaddr`, in the kernel's form.

    On a port of all addresses the control message follows that holds the address that was asked.

    Args:
        sock: open.
        events: counts datagrams sent and dropped.
        asked: reads which address was asked; None on a port of one address.
    """

    __slots__ = (
        "_asked",
        "_datagrams",
        "_destinations",
        "_events",
        "_family",
        "_form",
        "_known",
        "_replies",
        "_room",
        "_socket",
        "arrived",
    )

    def __init__(self, sock: socket.socket, events: ServiceEvents, asked: Asked | None = None) -> None:
        self.arrived = 0
        self._socket = sock
        self._family = sock.family
        self._events = events
        self._asked = asked
        size = (_IPV6 if self._family == socket.AF_INET6 else _IPV4).size
        control_size = asked.control_size if asked is not None else 0
        self._form = f"{_slot(size, control_size)}s"
        self._room = _room(size, control_size)
        self._known: dict[bytes, Address] = {}
        self._replies: dict[bytes, bytes] = {}  # destination of an answer, by its peer
        self._datagrams: list[bytes] = []  # waiting datagrams
        self._destinations: list[bytes] = []  # their destinations

    def receive(self) -> Iterable[tuple[bytes, Address, bytes]]:
        """Implement `Wire.receive`."""
        room, known, learn, asked = self._room, self._known, self._learn, self._asked
        incoming = room.incoming
        if asked is not None:
            incoming.control_sizes[:] = incoming.full
        if len(known) >= MOST_KNOWN:
            known.clear()
            self._replies.clear()
        count = _C.recvmmsg(self._socket.fileno(), incoming.address, BATCH, socket.MSG_DONTWAIT, None)
        self.arrived = max(count, 0)
        if count < 0:
            if (number := ctypes.get_errno()) != errno.EAGAIN:
                self._events.dropped(None, error_name(number))
            return ()
        names: Sequence[bytes] = _repeated(self._form, count).unpack_from(incoming.names)
        addresses = [known.get(name) or learn(name) for name in names]
        if asked is not None:
            names = [*map(self._replies.__getitem__, names)]
        content, sizes = room.content, incoming.sizes[:count].tolist()
        datagrams = [content[start : start + size] for start, size in zip(room.starts, sizes, strict=False)]
        return zip(datagrams, addresses, names, strict=True)

    def send(self, datagram: bytes, destination: bytes) -> None:
        """Implement `Wire.send`."""
        self._datagrams.append(datagram if type(datagram) is bytes else memoryview(datagram).tobytes())
        self._destinations.append(destination)
        if len(self._destinations) >= MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Implement `Wire.flush`."""
        if not self._destinations:
            return
        messages, number, names = self._room.outgoing, self._socket.fileno(), self._destinations
        content, targets, sizes = b"".join(self._datagrams), b"".join(names), [*map(len, self._datagrams)]
        messages.names[: len(targets)] = targets
        messages.place(ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p).value or 0, sizes)
        self._events.datagrams_sent += len(sizes)
        self._events.sent += len(content)
        tried = 0
        while tried < len(sizes):
            first = messages.address + tried * _MESSAGE_SIZE
            gone = _C.sendmmsg(number, first, len(sizes) - tried, socket.MSG_DONTWAIT)
            if gone < 0:  # the first of them failed; the others were not tried
                self._events.dropped(self._learn(names[tried]), error_name(ctypes.get_errno()))
                self._events.datagrams_sent -= 1
                self._events.sent -= sizes[tried]
                gone = 1
            tried += gone
        self._datagrams.clear()
        self._destinations.clear()

    def destination(self, address: Address, route: Route = b"") -> bytes:
        """Implement `Wire.destination`."""
        host, _, zone = address[0].partition("%")
        number, packed = address[1].to_bytes(2), socket.inet_pton(self._family, host)
        if self._family == socket.AF_INET6:
            name = _IPV6.pack(socket.AF_INET6, number, packed, int(zone or 0))
        else:
            name = _IPV4.pack(socket.AF_INET, number, packed)
        return name if self._asked is None else _routed(name, self._asked.block(route))

    def route(self, destination: bytes) -> Route:
        """Implement `Wire.route`."""
        return b"" if self._asked is None else self._asked.route_of(destination[-self._asked.control_size :])

    def _learn(self, name: bytes) -> Address:
        if self._family == socket.AF_INET6:
            _, number, packed, zone = _IPV6.unpack_from(name)
        else:
            (_, number, packed), zone = _IPV4.unpack_from(name), 0
        host = socket.inet_ntop(self._family, packed)
        address = zoned(host, zone), int.from_bytes(number)
        self._known[name] = address
        if self._asked is not None:
            size = (_IPV6 if self._family == socket.AF_INET6 else _IPV4).size
            self._replies[name] = _routed(name[:size], self._asked.block(self.route(name)))
        return address


_IPV4 = struct.Struct("=H2s4s8x")
"""`struct sockaddr_in`: family, port, address."""

_IPV6 = struct.Struct("=H2s4x16sI")
"""`struct sockaddr_in6`: family, port, flow (always 0), address, zone."""
