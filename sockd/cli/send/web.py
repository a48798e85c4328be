"""HTTP server that files are sent to, ours or another."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from threading import Event

from sockd.cli.address import reason
from sockd.cli.send.channel import STALL_SECONDS, Interrupted, Lost
from sockd.cli.send.target import WebAddress
from sockd.cli.tls import TlsSocket

_CONNECT_SECONDS = 10.0
_SLICE = 1 << 18  # bytes that the server has to take within the time limit of the connection
_MOST_ANSWER = 65_536  # bytes of an answer's body that are read


@dataclass(frozen=True, slots=True)
class Response:
    """Answer of the server; the names of the fields are in lower case."""

    status: int
    fields: Mapping[str, str]
    text: str

    @property
    def why(self) -> str:
        """Reason of a refusal: its status, and the first line of its text, or where to go instead."""
        line = self.text.strip().partition("\n")[0][:200]
        if not line or line.startswith(("<", "{")):
            line = self.fields.get("reason", "")
        if 300 <= self.status < 400 and (other := self.fields.get("location")):
            line = f"{line}, send to {other[:200]}"
        return f"refused ({self.status}): {line}" if line else f"refused ({self.status})"

    @property
    def retry_after(self) -> float:
        """Seconds after which the server wants to be asked again; 0 if it does not tell."""
        value = self.fields.get("retry-after", "")
        return float(value) if value.isdecimal() and len(value) < 6 else 0.0


class Web:
    """Connection to a web server, opened again when the server has closed it.

    Args:
        address: of the server.
        token: sent with each request; "" for none.
        answered: set when the server has answered.
        interrupted: tells whether the run is to end.
    """

    def __init__(
        self, address: WebAddress, token: str, answered: Event, interrupted: Callable[[], bool]
    ) -> None:
        self.address = address
        self._answered = answered
        self._token = token
        self._interrupted = interrupted
        self._connection: HTTPConnection | None = None

    def ask(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        body: Iterable[bytes | memoryview] = (),
    ) -> Response:
        """Send a request, and return the answer, which may come before the end of the body.

        Raises:
            Lost: the server cannot be reached, or the connection broke.
        """
        connection = self._connection or self._connect()
        self._connection = None
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", self.address.authority)
            connection.putheader("User-Agent", "sockd")
            if authorization := self.address.authorization(self._token):
                connection.putheader("Authorization", authorization)
            for name, value in (fields or {}).items():
                connection.putheader(name, value)
            connection.endheaders()
            whole = self._send(connection, body)
            response = self._answer(connection, keep=whole)
        except (OSError, HTTPException) as error:
            connection.close()
            why = reason(error) if isinstance(error, OSError) else f"no answer of HTTP ({error})"
            raise Lost(why or "the connection broke") from None
        except BaseException:  # whatever it was, half a request is not gone on with
            connection.close()
            raise
        self._answered.set()
        return response

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> HTTPConnection:
        try:
            sock = self.address.connect(_CONNECT_SECONDS)
        except OSError as error:
            raise Lost(reason(error)) from None
        sock.settimeout(STALL_SECONDS)
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = HTTPConnection(self.address.host, self.address.port)
        connection.sock = sock
        connection.auto_open = 0
        return connection

    def _send(self, connection: HTTPConnection, body: Iterable[bytes | memoryview]) -> bool:
        """Send a body; return False if the server has answered before its end."""
        for piece in body:
            view = memoryview(piece)
            while view:  # the time limit of the socket is for each slice
                if self._interrupted():
                    raise Interrupted
                if _readable(connection.sock):
                    return False
                try:
                    connection.send(view[:_SLICE])
                except (BrokenPipeError, ConnectionResetError):
                    return False  # its answer may tell why
                view = view[_SLICE:]
        return True

    def _answer(self, connection: HTTPConnection, *, keep: bool) -> Response:
        response = connection.getresponse()
        text = response.read(_MOST_ANSWER)
        fields = {name.lower(): value for name, value in response.getheaders()}
        fields.setdefault("reason", response.reason)
        if keep and response.isclosed() and not response.will_close:
            self._connection = connection
        else:
            connection.close()
        return Response(response.status, fields, text.decode("utf-8", "backslashreplace"))


def _readable(sock: socket.socket | TlsSocket | None) -> bool:
    if isinstance(sock, TlsSocket):
        return sock.readable()
    return sock is not None and bool(select.select([sock], [], [], 0)[0])
