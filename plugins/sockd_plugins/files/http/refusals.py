"""Answers of HTTP to what is refused: a line of text, or JSON of RFC 9457 for those who accept that."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sockd_plugins.files.http.request import Answer, Request, phrase
from sockd_plugins.files.storage.refused import FileRefused

_STATUS: Mapping[str, int] = {
    "bad-request": 400,
    "bad-name": 400,
    "incomplete": 400,
    "digest-mismatch": 400,
    "denied": 401,
    "expired": 403,
    "unknown": 404,
    "too-slow": 408,
    "exists": 409,
    "busy": 409,
    "taken": 409,
    "too-large": 413,
    "overrun": 413,
    "too-many": 429,
    "io": 500,
    "disk-full": 507,
    "quota": 507,
}

_RETRY_AFTER: Mapping[str, int] = {"busy": 5, "too-many": 30, "disk-full": 300}
"""Seconds after which a refusal may not hold any more."""

_CONDITIONS = {"if-match", "if-none-match"}  # with which a client asks for 412

_PROBLEM = "application/problem+json"

TEXT = "text/plain; charset=utf-8"


def refusal(request: Request | None, refused: FileRefused) -> Answer:
    """Return the answer to a refused file."""
    code: str = refused.code
    headers = []
    if (seconds := _RETRY_AFTER.get(code)) is not None:
        headers.append(("Retry-After", str(seconds)))
    if code == "denied":
        headers.append(("WWW-Authenticate", 'Bearer realm="files"'))
        headers.append(("WWW-Authenticate", 'Basic realm="files", charset="UTF-8"'))  # browsers ask for it
    status = status_of(refused)
    if code == "exists" and request is not None and not _CONDITIONS.isdisjoint(request.headers):
        status = 412
    return problem(request, status, str(refused), code, headers)


def status_of(refused: FileRefused) -> int:
    """Return the status of the answer to a refused file."""
    return _STATUS.get(refused.code, 400)


def problem(
    request: Request | None,
    status: int,
    text: str,
    code: str = "",
    headers: list[tuple[str, str]] | None = None,
    *,
    kind: str = "about:blank",
    **members: object,
) -> Answer:
    """Return an answer that tells what is wrong.

    Args:
        request: what is answered; None if it could not be read.
        status: of the answer.
        text: the reason, in one line.
        code: of the refusal, for programs.
        headers: further ones.
        kind: URI of the problem's type (RFC 9457, 3.1.1).
        members: further members of the JSON.
    """
    if request is not None and accepts(request, _PROBLEM):
        content = {"type": kind, "title": phrase(status), "status": status, "detail": text}
        body = json.dumps(content | ({"code": code} if code else {}) | members).encode() + b"\n"
        return Answer(status, [("Content-Type", _PROBLEM), *(headers or [])], body)
    line = f"error {code}: {text}\n" if code else f"error: {text}\n"
    return Answer(status, [("Content-Type", TEXT), *(headers or [])], line.encode())


def accepts(request: Request, media_type: str) -> bool:
    """Tell whether a client names a media type among those it accepts (RFC 9110, 12.5.1).

    Who accepts JSON accepts any type of it.
    """
    parts = (request.headers.get("accept") or "").lower().split(",")
    named = [part.partition(";")[0].strip() for part in parts]
    return media_type in named or (media_type.endswith("+json") and "application/json" in named)
