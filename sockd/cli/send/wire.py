"""Lines of the protocol `upload`, which `files/stream/put.py` describes, for the end that sends."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sockd.text import decoded

MAX_ANSWER = 65_536
"""Bytes of a line of the server; a receipt is the longest, with a few thousand."""

_GO = re.compile(r"go(?: ([0-9a-f]{16}) (\d{1,19})(?: ([a-z0-9]+)=([0-9a-f]+))?)?", re.ASCII)
_AT = re.compile(r"at (\d{1,19})", re.ASCII)
_STORED = re.compile(r"(ok|had) (.+) (\d{1,19}) ([a-z0-9]+)=([0-9a-f]+)", re.ASCII | re.DOTALL)
_REFUSED = re.compile(r"(refused|error) ([a-z-]+)(?: (.*))?", re.ASCII | re.DOTALL)


class NotUnderstood(Exception):
    """Line that no server of this protocol sends; the text tells which."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Abilities of the server."""

    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Go:
    """Permission to send the data.

    Attributes:
        id: of an upload that can be resumed.
        offset: bytes that the server has.
        algorithm: of `digest`; "" if the server does not tell it.
        digest: of these bytes, in hexadecimal.
    """

    id: str = ""
    offset: int = 0
    algorithm: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class At:
    """Bytes of the file that are durable on the server."""

    offset: int


@dataclass(frozen=True, slots=True)
class Stored:
    """File on the server's disk; a duplicate was there already."""

    name: str
    size: int
    algorithm: str
    digest: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Refusal of a file; after the last one the server takes nothing more."""

    code: str
    text: str
    last: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """Signed receipt, as JSON, of the file whose answer follows."""

    text: str


Answer = Hello | Go | At | Stored | Refused | Receipt


def parse(line: bytes) -> Answer:
    """Parse a line of the server.

    Raises:
        NotUnderstood: it is none of this protocol.
    """
    text = decoded(line)
    if match := _AT.fullmatch(text):
        return At(int(match[1]))
    if match := _STORED.fullmatch(text):
        return Stored(match[2], int(match[3]), match[4], match[5], match[1] == "had")
    if match := _GO.fullmatch(text):
        return Go(match[1] or "", int(match[2] or 0), match[3] or "", match[4] or "")
    if match := _REFUSED.fullmatch(text):
        return Refused(match[2], match[3] or "", match[1] == "error")
    word, _, rest = text.partition(" ")
    if word == "hello":
        return Hello(frozenset(rest.split()))
    if word == "receipt":
        return Receipt(rest)
    raise NotUnderstood(f"expected 'ok NAME SIZE sha256=HEX', found '{text[:200]}'")


def announcement(command: str, size: int | None, digest: str, name: str) -> bytes:
    """Return the line that announces a file.

    Args:
        command: `put`, `keep`, or `continue` with what follows it.
        size: in bytes; None if unknown.
        digest: `ALGORITHM` if it follows the data, or `ALGORITHM=HEX`.
        name: of the file on the server.

    Raises:
        ValueError: the name is not one line of UTF-8.
    """
    line = f"{command} {'-' if size is None else size} {digest} {name}".encode()
    if b"\n" in line or b"\r" in line:
        raise ValueError("a name with a line end")
    return line + b"\n"
