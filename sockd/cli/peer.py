"""Service at the other end of a conversation; reading and writing never block."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from contextlib import suppress

from sockd.cli.address import Address, reason
from sockd.cli.tls import ALERT, NEEDS_TLS, TlsSocket

LARGEST_READ = 65_536

MOST_READS = 16
"""Reads in a row, before standard input is read."""


class Failed(Exception):
    """Failure of the conversation; the text tells why."""


class Peer:
    """Service at the other end, and the state of the conversation with it.

    Args:
        sock: connected to the service.
        address: of the service.

    Attributes:
        sock: for `select`.
        heard: whether anything came from the service.
        told: whether anything was sent to it.
        finishing: whether nothing more will be sent.
        ended: whether nothing more will come; known of connections only.
    """

    def __init__(self, sock: socket.socket | TlsSocket, address: Address) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.heard = self.told = self.finishing = self.ended = False
        self._address = address
        self._unsent: deque[bytes] = deque()  # datagrams, or pieces of a stream
        self._shut = not address.stream
        self._broken: OSError | None = None
        self._lost: OSError | None = None  # an error behind what has been read

    @property
    def unsent(self) -> bool:
        """True while something is still to be sent, so that `flush` has to be called."""
        return bool(self._unsent) or (self.finishing and not self._shut)

    def read(self) -> list[bytes]:
        """Read what has arrived: pieces of a stream, or datagrams.

        Raises:
            Failed: the service speaks another protocol, or the connection broke.
        """
        if self._lost is not None:
            raise self._failed(reason(self._lost) + self._hint(self._lost))
        arrived: list[bytes] = []
        try:
            while len(arrived) < MOST_READS:
                data = self.sock.recv(LARGEST_READ)
                if not data and self._address.stream:
                    self.ended = True
                    break
                if not self.heard:
                    self._look_for_tls(data)
                self.heard = True
                arrived.append(data)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            if not arrived:
                raise self._failed(reason(error) + self._hint(error)) from None
            if self._address.stream:  # the kernel tells it once; what arrived before is shown first
                self._lost = error
        return arrived

    def write(self, data: bytes) -> None:
        """Send data, now or when there is room."""
        if self._broken is None:
            self.told = True
            self._unsent.append(data)
            self.flush()

    def finish(self) -> None:
        """Send nothing more."""
        self.finishing = True
        self.flush()

    def flush(self) -> None:
        """Send what there is room for.

        Raises:
            Failed: a datagram did not reach it.
        """
        try:
            while self._unsent:
                sent = self.sock.send(self._unsent[0])
                rest = self._unsent.popleft()[sent:]
                if rest:
                    self._unsent.appendleft(rest)
            if self.finishing and not self._shut:
                self.sock.shutdown(socket.SHUT_WR)
                self._shut = True
        except BlockingIOError:
            pass
        except OSError as error:
            if not self._address.stream:
                raise self._failed(reason(error)) from None
            # The service has closed; what it sent before may tell why, and is read first.
            self._broken, self._shut = error, True
            self._unsent.clear()

    def judge(self) -> None:
        """Check that the conversation has ended well.

        Raises:
            Failed: it has not.
        """
        if self._broken is not None:
            raise self._failed(f"closed before all input was sent: {reason(self._broken)}")
        if self._unsent:
            raise self._failed("closed before all input was sent")
        if not self.heard and not (self.finishing or self.told):
            raise self._failed("closed before it sent anything")

    def _hint(self, error: OSError) -> str:
        """Suggest TLS where the connection was reset, as many TLS servers do at the first plain bytes."""
        silent = self._address.stream and not self._address.encrypted and not self.heard
        return (
            "; if TLS is spoken there, connect with --tls"
            if silent and isinstance(error, ConnectionResetError)
            else ""
        )

    def _look_for_tls(self, data: bytes) -> None:
        if self._address.stream and not self._address.encrypted and data.startswith(ALERT):
            raise self._failed(NEEDS_TLS)

    def _failed(self, why: str) -> Failed:
        with suppress(OSError):
            self.sock.close()
        return Failed(f"{self._address}: {why}")
