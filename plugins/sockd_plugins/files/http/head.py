"""Heads of requests, read within bounds and checked by h11 (RFC 9112).

A head that is no HTTP/1.1 raises `Malformed` with the status of the answer. The target is decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

import h11

from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.stream.peer import Peer

MOST_LINE = 8192
"""Bytes of the request line; a name of 1,000 bytes in percent-encoding has less than half."""

MOST_HEAD = 32768
"""Bytes of the header lines. Browsers send the cookies of every service on the same host."""

MOST_FIELDS = 100

_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_TEXT = re.compile(rb"[\r\nA-Z]", re.IGNORECASE)


class Malformed(Exception):
    """Head that cannot be answered but by a refusal.

    Args:
        status: of the answer.
        text: the reason, for people.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Headers:
    """Header fields, by names in any case.

    Args:
        pairs: names in lower case and values, as they came.
    """

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            key, text = name.decode("ascii"), value.decode("latin-1")
            self._values[key] = f"{had}, {text}" if (had := self._values.get(key)) is not None else text

    def get(self, name: str) -> str | None:
        """Return the value of a field, several of one name joined by commas; None if it is missing."""
        return self._values.get(name.lower())

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)


@dataclass(slots=True)
class Head:
    """Head of a request.

    Attributes:
        method: in the case in which it came.
        path: decoded once; begins with "/", or is "*".
        query: decoded; of a repeated key the last value.
        version: "1.1" or "1.0".
        headers: the fields.
        length: bytes of the body; None if it is chunked.
        http: state of the exchange.
    """

    method: str
    path: str
    query: Mapping[str, str]
    version: str
    headers: Headers
    length: int | None
    http: h11.Connection


async def read_head(peer: Peer) -> Head | None:
    """Read the next head; None if the peer has ended, or the service drains.

    Raises:
        Malformed: it is no head of HTTP/1.1, or too long.
        Gone: the connection broke.
    """
    start = await peer.peek(1)
    if start and not _TEXT.match(start):
        raise Malformed(400, "this port speaks HTTP without TLS")
    if (line := await _request_line(peer)) is None:
        return None
    lines = [line]
    left = MOST_HEAD
    while True:
        try:
            field = await peer.line(left)
        except FileRefused as refused:
            if refused.code != "bad-request":
                raise
            raise Malformed(431, f"expected header lines of at most {MOST_HEAD} bytes, found more") from None
        if not field:
            return _parse(b"\r\n".join((*lines, b"", b"")))
        if len(lines) > MOST_FIELDS:
            raise Malformed(431, f"expected at most {MOST_FIELDS} header fields, found more")
        lines.append(field)
        left = max(left - len(field), 1)


async def _request_line(peer: Peer) -> bytes | None:
    """Read a request line, after at most one empty line (RFC 9112, 2.2)."""
    try:
        line = await peer.line(MOST_LINE, first=True)
        if line == b"":
            line = await peer.line(MOST_LINE, first=True)
    except FileRefused as refused:
        if refused.code != "bad-request":
            raise
        raise Malformed(414, f"expected a request line of at most {MOST_LINE} bytes, found more") from None
    # Clients send letters beyond ASCII as they are, which h11 refuses.
    return line and _NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line)


def _parse(text: bytes) -> Head:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_LINE * 3 + MOST_HEAD)
    try:
        http.receive_data(text)
        event = http.next_event()
    except h11.RemoteProtocolError as error:
        raise Malformed(error.error_status_hint, f"expected a request of HTTP/1.1: {error}") from None
    if not isinstance(event, h11.Request):
        raise Malformed(400, "expected a request of HTTP/1.1")
    headers = Headers(list(event.headers))
    if "transfer-encoding" in headers and "content-length" in headers:
        raise Malformed(400, "expected a length or chunks, found both")
    length = None if "transfer-encoding" in headers else int(headers.get("content-length") or 0)
    path, query = _split(event.target.decode("ascii"))
    method, version = event.method.decode("ascii"), event.http_version.decode("ascii")
    return Head(method, path, query, version, headers, length, http)


def _split(target: str) -> tuple[str, Mapping[str, str]]:
    """Return path and query of a target (RFC 9112, 3.2)."""
    if absolute := _ABSOLUTE.match(target):
        target = target[absolute.end() :] or "/"
    if not target.startswith("/") and target != "*":
        raise Malformed(400, "expected a target that begins with '/'")
    path, _, query = target.partition("#")[0].partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
        return unquote(path, errors="strict"), dict(pairs)
    except UnicodeDecodeError:
        raise Malformed(400, "expected a target in UTF-8") from None
    except ValueError:
        raise Malformed(400, f"expected at most {MOST_FIELDS} fields in the query") from None
