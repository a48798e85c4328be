"""Files that senders send, and what they were told of each."""

from __future__ import annotations

import hashlib
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.crash.daemon import HOST

PATIENCE = 20.0
"""Seconds for an answer; a daemon that takes longer hangs."""

_PIECE = 256 << 10


@dataclass(slots=True)
class Sending:
    """File of a sender.

    Attributes:
        name: as announced.
        data: the whole file.
        id: by which the sender goes on after a break; empty before it was told.
        told: the largest offset of which the sender was told that it is durable.
        found: the offset at which the daemon last went on; -1 before it did.
        stored: the name under which the file is stored, once that was acknowledged.
        refused: the text of the last refusal.
        vanished: whether the daemon did not know the id any more.
    """

    name: str
    data: bytes
    id: str = ""
    told: int = 0
    found: int = -1
    stored: str = ""
    refused: str = ""
    vanished: bool = False

    @property
    def sha256(self) -> str:
        """Digest of the file, in hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()


class Client(Protocol):
    """Sender of files over one protocol.

    Attributes:
        protocol: of the listener.
        resumes: whether `send` goes on with a file that was interrupted.
        names: whether the sender chooses the name.
        size: bytes of a file, enough for several synchronizations.
    """

    protocol: str
    resumes: bool
    names: bool
    size: int

    def send(self, port: int, sending: Sending, leave_at: int | None = None) -> None:
        """Send a file, or the rest of it, and note what is told; return when the connection is over.

        Args:
            port: of the daemon.
            sending: the file.
            leave_at: offset at which the sender breaks off, once it was told that some of it is durable.
        """


class Conversation:
    """Connection to which data is sent while lines are read.

    Args:
        port: of the daemon.
        take: called with each line; returns False when nothing more is awaited.
    """

    def __init__(self, port: int, take: Callable[[str], bool]) -> None:
        self._socket = socket.create_connection((HOST, port), PATIENCE)
        self._take = take
        self._read = bytearray()
        self._open = True

    def talk(self, data: bytes = b"", *, end: bool = False) -> None:
        """Send data and take the lines that come, until nothing more is awaited.

        Args:
            data: to send.
            end: whether to end our side afterwards.

        Raises:
            OSError: the connection is lost, or nothing comes.
        """
        left = memoryview(data)
        self._take_lines()
        while self._open:
            if not left and end:
                self._socket.shutdown(socket.SHUT_WR)
                end = False
            readable, writable, _ = select.select(
                [self._socket], [self._socket] if left else [], [], PATIENCE
            )
            if not readable and not writable:
                raise TimeoutError(f"no answer within {PATIENCE:g} s")
            if writable:
                self._socket.setblocking(False)
                left = left[self._socket.send(left[:_PIECE]) :]
                self._socket.setblocking(True)
            if readable:
                self._receive()

    def _receive(self) -> None:
        more = self._socket.recv(65536)
        if not more:
            raise ConnectionResetError("the peer has ended")
        self._read += more
        self._take_lines()

    def _take_lines(self) -> None:
        while self._open and (end := self._read.find(b"\n")) >= 0:
            line = self._read[:end].decode(errors="replace")
            del self._read[: end + 1]
            self._open = self._take(line)

    def go_on(self, take: Callable[[str], bool]) -> None:
        """Await further lines."""
        self._take = take
        self._open = True

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
