"""Web server that is told of each received file, by a POST of JSON."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Event, Timer
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from typing_extensions import override

from sockd.text import printable
from sockd_plugins.files.notices.notice import NotDelivered, Notice


@dataclass(frozen=True, slots=True)
class Webhook:
    """Web server; an answer of 2xx means that it has taken the notice.

    With a secret, the field `Sockd-Signature` has `sha256=` and the HMAC-SHA-256 (RFC 2104) of the body in
    hexadecimal digits.

    Attributes:
        url: of http or https.
        secret: shared with the server; "" for none.
        service: the name of the service.
        seconds: until the server has answered.
    """

    url: str
    secret: str
    service: str
    seconds: float = 20.0

    def deliver(self, notice: Notice, stopping: Event) -> None:  # noqa: ARG002  # it ends soon by itself
        """Post a notice.

        Raises:
            NotDelivered: the server cannot be reached, or answers otherwise.
        """
        body = notice.as_json(self.service)
        fields = {"Content-Type": "application/json", "User-Agent": "sockd"}
        if self.secret:
            digest = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
            fields["Sockd-Signature"] = f"sha256={digest}"
        exchange = _Exchange()
        try:
            request = Request(self.url, body, fields, method="POST")  # noqa: S310  # the scheme was checked
            with exchange.ended_after(self.seconds):
                build_opener(exchange, _NoRedirect).open(request, timeout=self.seconds).close()
        except HTTPError as error:
            error.close()
            raise NotDelivered(f"the server answered {error.code} {printable(error.reason)}") from None
        except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
            if exchange.is_late:
                raise NotDelivered(f"the server took more than {self.seconds:g} seconds") from error
            reason = getattr(error, "reason", None) or error
            raise NotDelivered(f"the server cannot be reached: {printable(str(reason))}") from error


class _Exchange(HTTPHandler, HTTPSHandler):
    """Exchange with a server that ends in time, although its timeouts count from the last byte.

    Attributes:
        is_late: whether the time was up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_late = False
        self._connection: HTTPConnection | None = None

    @contextmanager
    def ended_after(self, seconds: float) -> Iterator[None]:
        """End the connection after some time, as if the server had done so."""
        timer = Timer(seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self) -> None:
        self.is_late = True
        if self._connection is not None and self._connection.sock is not None:
            with suppress(OSError):  # it has ended just now
                socket.socket.shutdown(self._connection.sock, socket.SHUT_RDWR)

    @override
    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(self._made(HTTPConnection), req)

    @override
    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(self._made(HTTPSConnection), req, context=ssl.create_default_context())

    def _made(self, kind: type[HTTPConnection]) -> Any:
        def make(*args: Any, **options: Any) -> HTTPConnection:
            self._connection = kind(*args, **options)
            return self._connection

        return make


class _NoRedirect(HTTPRedirectHandler):
    """Refusal to follow: a redirected POST loses its body, and a notice is for one server."""

    @override
    def redirect_request(self, *_: object) -> None:
        return None
