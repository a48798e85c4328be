"""Messages of JSON, with descriptors, over a UNIX stream.

A frame is a length of four bytes, a count of descriptors of two, and the text. A stream and not datagrams
(SOCK_SEQPACKET), for those end at the size of the socket's buffer, and a list of ten thousand connections is
longer. The kernel hands descriptors over no later than the byte they were sent with, so all of a frame's are
there when its last byte is.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.telemetry.catalogue import CHANNEL_FAULT

LONGEST = 64 * 1024 * 1024
"""Bytes of one message: two hundred thousand connections, as `ps` has them. As many may wait to be sent."""

MOST_AT_ONCE = 250
"""Descriptors that go with one `sendmsg` (SCM_MAX_FD is 253)."""

MOST_WAITING = 4096
"""Descriptors that may have come without the end of their message."""

_READ = 256 * 1024
_HEAD = struct.Struct("!IH")
_DESCRIPTOR = struct.calcsize("i")

Received = Callable[[dict[str, Any], list[int]], None]

_log = Logger(namespace="sockd")


@dataclass(frozen=True, slots=True)
class Rest:
    """Bytes under way on a channel: of a message that has begun to arrive, and of those still to be sent."""

    received: bytes
    unsent: bytes


@implementer(IReadWriteDescriptor)
class Channel:
    """End of a channel.

    Args:
        sock: of a socket pair.
        reactor: reads and writes.
        received: takes each message and its descriptors, which are its own from then on.
        lost: called once, when the other end is gone or does not keep to the form.
        takes_descriptors: whether the other end may send any; otherwise the kernel closes them.
        rest: of the messages on their way, where another image of this process has begun with the channel.
    """

    def __init__(
        self,
        sock: socket.socket,
        reactor: Any,
        received: Received,
        lost: Callable[[], None],
        *,
        takes_descriptors: bool,
        rest: Rest | None = None,
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._reactor = reactor
        self._received = received
        self._lost = lost
        self._room = socket.CMSG_SPACE(MOST_AT_ONCE * _DESCRIPTOR) if takes_descriptors else 0
        self._in = bytearray()
        self._descriptors: deque[int] = deque()
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self._unsent = 0
        self.open = True
        reactor.addReader(self)
        if rest is not None:
            self._in += rest.received
            if rest.unsent:
                self._out.append((memoryview(rest.unsent), []))
                self._unsent = len(rest.unsent)
                reactor.addWriter(self)

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message with copies of descriptors. To an end that is gone, nothing is sent."""
        if not self.open:
            return
        text = json.dumps(message, separators=(",", ":")).encode()
        frame = memoryview(_HEAD.pack(len(text), len(descriptors)) + text)
        self._unsent += len(frame)
        if len(text) > LONGEST or self._unsent > LONGEST:
            self.close()
            return
        own = [os.dup(descriptor) for descriptor in descriptors]
        # One byte for each group of descriptors, the rest with the last.
        while len(own) > MOST_AT_ONCE:
            self._out.append((frame[:1], own[:MOST_AT_ONCE]))
            frame, own = frame[1:], own[MOST_AT_ONCE:]
        self._out.append((frame, own))
        self.doWrite()
        if self._out and self.open:
            self._reactor.addWriter(self)

    def doWrite(self) -> None:  # noqa: N802  # as IWriteDescriptor has it
        """Write what can be written."""
        while self._out:
            data, descriptors = self._out[0]
            try:
                sent = socket.send_fds(self._socket, [data], descriptors)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            _close_all(descriptors)
            self._unsent -= sent
            if sent < len(data):
                self._out[0] = data[sent:], []
            else:
                self._out.popleft()
        self._reactor.removeWriter(self)

    def doRead(self) -> None:
        """Read some of what is there."""
        self._read()

    def read_the_rest(self) -> None:
        """Read what a process that is gone has sent before its end, and close."""
        while self.open and self._read():
            pass
        self.close()

    def _read(self) -> bool:
        """Read once, and tell whether there was anything."""
        try:
            # socket.recv_fds of Python 3.11 ignores its flags.
            data, ancillary, _, _ = self._socket.recvmsg(_READ, self._room, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        except OSError:
            data, ancillary = b"", []
        for _, kind, content in ancillary:
            if kind == socket.SCM_RIGHTS:
                whole = len(content) // _DESCRIPTOR * _DESCRIPTOR
                self._descriptors.extend(memoryview(content[:whole]).cast("i"))
        self._in += data
        if not data or len(self._descriptors) > MOST_WAITING:
            self.close()
            return False
        self._hand_out()
        return True

    def _hand_out(self) -> None:
        """Pass on the messages that are complete."""
        while self.open and len(self._in) >= _HEAD.size:
            length, count = _HEAD.unpack_from(self._in)
            end = _HEAD.size + length
            if length > LONGEST:
                self.close()
                return
            if len(self._in) < end:
                return
            text = bytes(self._in[_HEAD.size : end])
            del self._in[:end]
            try:
                message = json.loads(text)
                descriptors = [self._descriptors.popleft() for _ in range(count)]
            except (ValueError, RecursionError, IndexError):
                self.close()
                return
            if not isinstance(message, dict):
                self.close()
                return
            try:
                self._received(message, descriptors)
            except Exception:  # a message that nobody understands must not cost those behind it
                CHANNEL_FAULT.write_failure(_log)

    def rest(self) -> Rest | None:
        """Return the bytes under way, for the next image; None where descriptors are under way too."""
        if not self.open or self._descriptors or any(descriptors for _, descriptors in self._out):
            return None
        return Rest(bytes(self._in), b"".join(data for data, _ in self._out))

    def close(self) -> None:
        """Close the channel; what has not been sent is lost."""
        if not self.open:
            return
        self.open = False
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        _close_all(self._descriptors)
        for _, descriptors in self._out:
            _close_all(descriptors)
        self._out.clear()
        self._descriptors.clear()
        self._socket.close()
        self._lost()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IReadDescriptor has it
        """Close the channel, whose descriptor the reactor has found broken."""
        self.close()

    def fileno(self) -> int:
        """Return the descriptor of the socket, -1 once it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return "-"  # what is done because of a message is nothing that the channel says


def _close_all(descriptors: Sequence[int] | deque[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
