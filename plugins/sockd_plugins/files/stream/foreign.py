"""Answers to peers that speak another protocol than the port, so that each learns it in its own words."""

from __future__ import annotations

import re

LONGEST = 16  # bytes in which each protocol is known

_HTTP = re.compile(rb"(GET|PUT|POST|HEAD|OPTIONS|DELETE|PATCH|PROPFIND|MKCOL|CONNECT|TRACE) ")
_TLS = b"\x16\x03"  # handshake record (RFC 8446, 5.1)
_SSH = b"SSH-"  # RFC 4253, 4.2


def answer_to_foreign(beginning: bytes, spoken: str) -> bytes | None:
    """Return the answer to a peer of another protocol; None if it may be one of this port's.

    Args:
        beginning: the first bytes that it has sent, at most `LONGEST`.
        spoken: what the port speaks.
    """
    if _HTTP.match(beginning):
        text = f"this port speaks {spoken}, not HTTP\n"
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
        return f"{head}Connection: close\r\n\r\n{text}".encode()
    for start, name in ((_TLS, "TLS"), (_SSH, "SSH")):
        if beginning.startswith(start):
            return f"error bad-request this port speaks {spoken}, not {name}\n".encode()
    return None
