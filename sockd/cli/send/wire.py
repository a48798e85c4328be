"""Lines of the protocol `upload`, which `files/stream/put.py` describes, for the end that sends."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from sockd.cli.send.items import BAD_NAME, is_utf8
from sockd.cli.send.source import Unreadable
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
    """File on the server's disk; a duplicate was there already.

    Attributes:
        name: that it has got.
        size: in bytes.
        algorithm: of the digest.
        digest: in hexadecimal.
        duplicate: whether the same file was there already.
        receipt: that the server has signed, as JSON; "" for none.
    """

    name: str
    size: int
    algorithm: str
    digest: str
    duplicate: bool
    receipt: str = ""

    @property
    def differs(self) -> str:
        """Reason of a failure: this is not what was sent."""
        found = f"{self.size} bytes, {self.algorithm}={self.digest}"
        return f"the server has stored something else: {found}"


@dataclass(frozen=True, slots=True)
class Refused:
    """Refusal of a file; after the last one the server takes nothing more."""

    code: str
    text: str
    last: bool

    @property
    def why(self) -> str:
        """Reason of a failure."""
        return f"refused ({self.code}): {self.text}" if self.text else f"refused ({self.code})"


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
    if word == "receipt" and _is_object(rest):
        return Receipt(rest)
    raise NotUnderstood(f"expected 'ok NAME SIZE sha256=HEX', found '{text[:200]}'")


def receipted(stored: Stored, receipt: Receipt) -> Stored:
    """Return what the server has stored with the receipt of it.

    Raises:
        NotUnderstood: the receipt is that of another file.
    """
    told = json.loads(receipt.text)
    digests = told.get("digests")
    found = digests.get(stored.algorithm) if isinstance(digests, dict) else None
    if (told.get("size"), found) != (stored.size, stored.digest):
        raise NotUnderstood(f"expected a receipt of {stored.name}, found that of another file")
    return replace(stored, receipt=receipt.text)


def _is_object(text: str) -> bool:
    """Tell whether a text is an object of JSON."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def announcement(command: str, size: int | None, digest: str, name: str) -> bytes:
    """Return the line that announces a file.

    Args:
        command: `put`, `keep`, or `continue` with what follows it.
        size: in bytes; None if unknown.
        digest: `ALGORITHM` if it follows the data, or `ALGORITHM=HEX`.
        name: of the file on the server.

    Raises:
        Unreadable: the name is not one line of UTF-8.
    """
    line = f"{command} {'-' if size is None else size} {digest} {name}"
    if "\n" in line or "\r" in line or not is_utf8(line):
        raise Unreadable(BAD_NAME)
    return line.encode() + b"\n"
