"""Requests and answers of HTTP that fit into memory, and refusals in their two forms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

JSON = "application/json"
PROBLEM = "application/problem+json"
TEXT = "text/plain; charset=utf-8"
EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Request:
    """Request with its whole body.

    Attributes:
        method: in upper case.
        path: decoded once; begins with "/".
        target: path and query as they came.
        query: decoded; of a repeated key the last value.
        headers: by names in lower case; several of one name are joined by commas.
        body: empty for none.
        host: address of the client; "-" if it has none.
    """

    method: str
    path: str
    target: str = "/"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    host: str = "-"

    def accepts(self, media_type: str) -> bool:
        """Tell whether the client names a media type among those it accepts (RFC 9110, 12.5.1)."""
        parts = self.headers.get("accept", "").lower().split(",")
        return media_type in (part.partition(";")[0].strip() for part in parts)


@dataclass(slots=True)
class Answer:
    """Answer to a request.

    Attributes:
        status: its number.
        headers: without Date and Content-Length.
        body: empty for none.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


class Problem(Exception):
    """Refusal of a request.

    Args:
        status: of the answer.
        code: reason in one word, for programs.
        text: reason for people, in one line.
        headers: further ones of the answer.
    """

    def __init__(self, status: int, code: str, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.headers = headers


def phrase(status: int) -> str:
    """Return the words for a status."""
    return HTTPStatus(status).phrase


def in_json(value: object) -> bytes:
    """Encode a value as JSON, without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def answer_json(value: object, status: int = 200) -> Answer:
    """Return an answer of one line of JSON."""
    return Answer(status, [("Content-Type", JSON), ("Cache-Control", "no-store")], in_json(value) + b"\n")


def refusal(request: Request | None, problem: Problem) -> Answer:
    """Return the answer to what is refused: JSON (RFC 9457) for those who accept it, else a line of text.

    Args:
        request: what is refused; None if it could not be read.
        problem: the reason.
    """
    headers = [("Cache-Control", "no-store"), *problem.headers]
    if request is not None and (request.accepts(JSON) or request.accepts(PROBLEM)):
        content = {
            "type": "about:blank",
            "title": phrase(problem.status),
            "status": problem.status,
            "code": problem.code,
            "detail": str(problem),
        }
        return Answer(problem.status, [("Content-Type", PROBLEM), *headers], in_json(content) + b"\n")
    line = f"error {problem.code}: {problem}\n"
    return Answer(problem.status, [("Content-Type", TEXT), *headers], line.encode())
