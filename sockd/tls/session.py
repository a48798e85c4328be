"""TLS in memory: turns ciphertext into plaintext and plaintext into ciphertext.

OpenSSL gets the ciphertext record by record, for two reasons. It is then rarely asked for data that it does
not have; to report that takes longer than to decrypt a short record. And its buffers, which never shrink,
stay as small as a record.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

from OpenSSL import SSL

_RECORD = 16 * 1024
"""Bytes of plaintext in a record at most (RFC 8446, 5.1)."""

_ROOM = 4 * _RECORD
"""Bytes of ciphertext of that record at most, also for a peer that takes 64 bytes in a record (RFC 8449)."""

_HEADER = 5
"""Bytes of a record's header; the last two of them are the length of the rest."""


_HANDSHAKE = 22
"""Type of the first record of a session."""

NO_TLS = bytes((21, 3, 1, 0, 2, 2, 10))
"""Fatal alert unexpected_message (RFC 8446, 6) for a peer that speaks no TLS. OpenSSL sends none in this
case, and the peer would not learn what is wrong."""


def is_whole(begin: bytes) -> bool:
    """Tell whether the first bytes of a peer can be answered: a whole record, or no handshake."""
    if begin[:1] != bytes([_HANDSHAKE]):
        return bool(begin)
    return len(begin) >= _HEADER and len(begin) >= _HEADER + (begin[3] << 8 | begin[4])


class Session:
    """Our end of TLS on one connection.

    Args:
        connection: OpenSSL's, in accept state and not yet used.
        transport: takes ciphertext for the peer.
    """

    __slots__ = (
        "_begun",
        "_connection",
        "_cut",
        "_missing",
        "_transport",
        "_write",
        "end",
        "established",
        "fault",
    )

    def __init__(self, connection: SSL.Connection, transport: Any) -> None:
        self._connection = connection
        self._transport = transport
        self._write = transport.write
        self._cut = b""  # beginning of a record's header
        self._begun = False
        self._missing = 0  # bytes that a record still lacks, of which OpenSSL has the beginning
        self.established = False
        self.end: Literal["", "closed", "broken"] = ""  # of the peer's data
        self.fault = ""  # in OpenSSL's words, never the peer's

    def receive(self, data: bytes) -> bytes:
        """Go on with the handshake, or decrypt the records that `data` completes."""
        if self.end or not (self.established or self._begun or self._begins_well(data)):
            return b""
        connection = self._connection
        plaintext: list[bytes] = []
        if self._cut:
            data, self._cut = self._cut + data, b""
        start, end, size = 0, self._missing, len(data)
        try:
            while start < size:
                if start == end:  # a record begins here
                    if size - start < _HEADER:
                        self._cut = data[start:]
                        break
                    end += _HEADER + (data[start + 3] << 8 | data[start + 4])
                connection.bio_write(data[start:end])
                start = end
                if not self.established:
                    self._shake()
                elif end <= size:
                    try:
                        plaintext.append(connection.recv(_RECORD))
                    except SSL.WantReadError:  # a message about the session itself, which may need an answer
                        self.flush()
        except SSL.ZeroReturnError:
            self.end = "closed"
        except SSL.Error as error:
            self.end, self.fault = "broken", _words(error)
        self._missing = max(0, end - size)
        return plaintext[0] if len(plaintext) == 1 else b"".join(plaintext)

    def _begins_well(self, data: bytes) -> bool:
        """Tell whether the peer's first bytes belong to a handshake; if not, send `NO_TLS`."""
        self._begun = bool(data)
        if data[:1] in (b"", bytes([_HANDSHAKE])):
            return True
        self._write(NO_TLS)
        self.end, self.fault = "broken", "wrong version number"
        return False

    def _shake(self) -> None:
        with suppress(SSL.WantReadError):
            self._connection.do_handshake()
            self.established = True
        self.flush()

    def send(self, data: bytes) -> None:
        """Encrypt data and send it with one call, whatever its size."""
        connection = self._connection
        if len(data) <= _RECORD:
            connection.sendall(data)
            self._write(connection.bio_read(_ROOM))
        else:
            whole, records = memoryview(data), []
            for start in range(0, len(data), _RECORD):
                connection.sendall(whole[start : start + _RECORD])
                records.append(connection.bio_read(_ROOM))
            self._transport.writeSequence(records)

    def close(self) -> None:
        """Send `close_notify`: our side sends no more."""
        with suppress(SSL.Error):  # the peer withholds the rest of a message
            self._connection.shutdown()
        self.flush()

    def flush(self) -> None:
        """Send what OpenSSL has to send by itself: a message of the handshake, an answer, an alert."""
        with suppress(SSL.WantReadError):
            while True:
                self._write(self._connection.bio_read(_ROOM))


def _words(error: SSL.Error) -> str:
    queue = error.args[0] if error.args else None
    return str(queue[-1][-1]) if isinstance(queue, list) and queue else ""
