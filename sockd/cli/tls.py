"""TLS of the clients: its options, the connection, and the reason where there is none."""

from __future__ import annotations

import io
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from typing_extensions import override

from sockd.text import describe_os_error

ALERT = b"\x15\x03"
"""First bytes of the alert that a TLS server sends to a client without TLS (RFC 8446, 5.1 and 6)."""

NEEDS_TLS = "TLS is spoken there: connect with --tls"

_WIRE_READ = 32_768
"""Bytes of a read; with the beginning of a record before them they are less than what a client reads at once.
"""

_NOT_TRUSTED = (
    "its certificate is not signed by a trusted authority: name its authority with --ca FILE,"
    " or skip the verification with --insecure"
)
_NO_TLS = "no TLS is spoken there, or not from the beginning: try without TLS"
_OUR_CERTIFICATE = "the server does not accept the client certificate"
_NO_CERTIFICATE = "the server requires a client certificate: give one with --cert FILE"

_UNVERIFIED = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    **dict.fromkeys((2, 18, 19, 20, 21), _NOT_TRUSTED),
}
"""Messages by OpenSSL's number of a certificate's fault (X509_V_ERR_…)."""

_REASONS = {
    **dict.fromkeys(
        (
            "WRONG_VERSION_NUMBER",
            "UNKNOWN_PROTOCOL",
            "HTTP_REQUEST",
            "PACKET_LENGTH_TOO_LONG",
            "UNEXPECTED_MESSAGE",
            "RECORD_LAYER_FAILURE",
            "RECORD_TOO_SMALL",
            "BAD_RECORD_TYPE",
            "INVALID_ALERT",
        ),
        _NO_TLS,
    ),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _NO_CERTIFICATE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": f"the server refuses the handshake; perhaps {_NO_CERTIFICATE}",
    "TLSV1_ALERT_UNKNOWN_CA": _OUR_CERTIFICATE,
    "TLSV1_ALERT_DECRYPT_ERROR": _OUR_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _OUR_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_OUR_CERTIFICATE}: it has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OUR_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _OUR_CERTIFICATE,
    "TLSV1_ALERT_PROTOCOL_VERSION": "client and server have no version of TLS in common",
    "UNSUPPORTED_PROTOCOL": "client and server have no version of TLS in common",
}
"""Messages by OpenSSL's name of an error."""


class TlsFailed(OSError):
    """Failure of TLS with this peer; the text tells why and what to do."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Options of a client's TLS.

    Attributes:
        ca: a PEM file with the trusted authorities, in place of the system's.
        insecure: whether the server is not verified.
        certificate: a PEM file with the certificate that the client shows.
        key: a PEM file with its private key; None if that is in the same file.
        server_name: the name that the server must have, in place of the host of the address.
    """

    ca: Path | None = None
    insecure: bool = False
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def wrap(self, sock: socket.socket, host: str) -> TlsSocket:
        """Speak TLS over a connection.

        Args:
            sock: the connection; its timeout is for each step of the handshake.
            host: of the address; empty for a UNIX socket.

        Raises:
            TlsFailed: the peer does not speak TLS, or its certificate is not accepted.
        """
        name = self.server_name or host or None
        if name is None and not self.insecure:
            raise TlsFailed("a UNIX socket has no host name for the certificate: give one with --server-name")
        context = self._context()
        try:
            return TlsSocket(sock, context, name)
        except ssl.SSLEOFError:
            raise TlsFailed(f"the server closed during the handshake; perhaps {_NO_TLS}") from None
        except ssl.SSLError as error:
            raise TlsFailed(reason(error)) from None
        except TimeoutError:
            raise TlsFailed(f"no handshake in time; perhaps {_NO_TLS}") from None
        except ConnectionError:
            raise TlsFailed(f"the connection broke during the handshake; perhaps {_NO_TLS}") from None
        except ValueError as error:  # an invalid name
            raise TlsFailed(f"--server-name {name}: {error}".lower()) from None

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise TlsFailed(f"{self.ca}: expected certificates in PEM, found none ({_why(error)})") from None
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a trusted certificate need not be a root
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password=_no_password)
            except OSError as error:
                files = " and ".join(str(path) for path in (self.certificate, self.key) if path)
                raise TlsFailed(
                    f"{files}: expected a certificate and its key in PEM ({_why(error)})"
                ) from None
        return context


class TlsSocket:
    """Connection under TLS, with the methods of a socket that clients use.

    The standard library's own cannot end its sending side and read on. On a socket without a timeout each
    method raises `BlockingIOError` where the socket would; `send` then has to be called with the same data.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_name: str | None) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._plain = bytearray()
        self._unsent = b""
        self._taken = 0  # bytes of the data being sent that the engine has encrypted
        self._ended = False
        self._failure: ssl.SSLError | None = None
        while True:
            try:
                self._engine.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()
            except ssl.SSLError:
                with suppress(OSError):
                    self._flush()  # tells the server the reason
                raise
        self._flush()

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end. Raises `ssl.SSLError` for a connection that was cut."""
        while not self._plain and not self._ended:
            self._decrypt()
            if not self._plain and not self._ended:
                self._receive()
        data = bytes(self._plain[:size])
        del self._plain[:size]
        return data

    def readable(self) -> bool:
        """Tell whether `recv` would return data or the end without waiting."""
        timeout = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            self._decrypt()
            while not (self._plain or self._ended):
                self._receive()
                self._decrypt()
        except BlockingIOError:
            return False
        except OSError:
            return True  # `recv` raises it
        finally:
            self._sock.settimeout(timeout)
        return True

    def send(self, data: bytes) -> int:
        """Send the beginning of `data`; return how many bytes of it."""
        self._flush()
        if not self._taken:
            self._taken = self._engine.write(data)
            self._flush()
        taken, self._taken = self._taken, 0
        return taken

    def sendall(self, data: bytes | memoryview) -> None:
        """Send all data."""
        view = memoryview(data)
        while view:
            view = view[self.send(bytes(view[:_WIRE_READ])) :]

    def shutdown(self, how: int) -> None:
        """End the sending side; `how` must be SHUT_WR."""
        if how != socket.SHUT_WR:
            raise ValueError("expected SHUT_WR")
        with suppress(ssl.SSLWantReadError):  # the other side has not ended
            self._decrypt()
            self._engine.unwrap()
        self._flush()

    def makefile(self, mode: str) -> BinaryIO:
        """Return the received data as a file; closing it leaves the connection open."""
        if mode != "rb":
            raise ValueError("expected rb")
        return io.BufferedReader(_Reader(self))

    def settimeout(self, seconds: float | None) -> None:
        """Set how many seconds each method may wait."""
        self._sock.settimeout(seconds)

    def setblocking(self, flag: bool) -> None:
        """Set whether methods wait at all."""
        self._sock.setblocking(flag)

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        """Set an option of the socket below."""
        self._sock.setsockopt(level, option, value)

    def fileno(self) -> int:
        """Return the descriptor for `select`: if that reports nothing to read, `recv` has nothing."""
        return self._sock.fileno()

    def close(self) -> None:
        """End the connection."""
        self._sock.close()

    def __enter__(self) -> TlsSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decrypt(self) -> None:
        """Decrypt all that has arrived; an error is raised once the data before it is taken."""
        try:
            while data := self._engine.read(_WIRE_READ):
                self._plain += data
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as error:
            self._failure = self._failure or error
        if self._failure and not self._plain:
            raise self._failure

    def _receive(self) -> None:
        data = self._sock.recv(_WIRE_READ)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        self._unsent += self._outgoing.read()
        while self._unsent:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]


class _Reader(io.RawIOBase):
    def __init__(self, sock: TlsSocket) -> None:
        self._sock = sock

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        data = self._sock.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def reason(error: ssl.SSLError | TlsFailed) -> str:
    """Explain an error: what went wrong, and what to do about it."""
    if isinstance(error, TlsFailed):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _UNVERIFIED.get(error.verify_code)
        if known is None and "mismatch" in error.verify_message:
            wanted = error.verify_message.rpartition(" for ")[2].rstrip(".")
            return f"its certificate is not for {wanted}: --server-name NAME expects another name"
        return known or f"its certificate cannot be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "the connection was cut: it ended without the end of the TLS session (close_notify)"
    return _REASONS.get(error.reason or "", _why(error))


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM").replace("_", " ").lower()
    return describe_os_error(error)


def _no_password() -> str:
    raise TlsFailed("the private key is encrypted: store it without a password (`openssl pkey`)")
