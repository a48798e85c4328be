"""Lines of the protocol `upload` that a peer sends, as values; `put.py` describes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sockd_plugins.files.storage.names import safe_path
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.state import Facts

MAX_LINE = 2048
"""Bytes of a line. A correct line has less than 1,200; more of a wrong one is shown in the error."""

ANNOUNCEMENT = MAX_LINE + 1
"""Bytes that `announces` has to see."""

_FILE = re.compile(
    r"(?:(?P<command>put|keep)|continue (?P<id>-|[0-9a-f]{16})) (?P<size>-|\d{1,18})"
    r" (?P<digest>-|(?P<algorithm>sha256|blake3)(?:=[0-9A-Fa-f]{64})?) (?P<name>.*)",
    re.ASCII | re.DOTALL,
)
_RESUME = re.compile(r"resume ([0-9a-f]{16})", re.ASCII)
_DROP = re.compile(r"drop ([0-9a-f]{16})", re.ASCII)
_HELLO = re.compile(r"hello( [a-z0-9=. -]+)?", re.ASCII)
_TOKEN = re.compile(r"token (\S+)", re.ASCII)
_USER = re.compile(r"user (\S+) (.+)", re.ASCII)
_DIGEST = re.compile(rb"(sha256|blake3)=([0-9A-Fa-f]{64})")

_BEGINNINGS = (b"put ", b"hello upload", b"token ")
_OURS = re.compile(rb"(token \S+\r?\n)?hello upload[a-z ]*\r?\n")


@dataclass(frozen=True, slots=True)
class Put:
    """Announcement of a file.

    Attributes:
        command: `put`, `keep` or `continue`.
        id: of the unfinished upload to continue; "" for none.
        size: bytes; None if they come in chunks.
        digest: as written: `-`, `ALGORITHM` or `ALGORITHM=HEX`.
        algorithm: of the digest.
        name: as the peer wrote it.
    """

    command: str
    id: str
    size: int | None
    digest: str
    algorithm: str
    name: str

    @property
    def digest_follows(self) -> bool:
        """True if the digest comes after the data."""
        return self.digest == self.algorithm

    @property
    def digests(self) -> dict[str, str]:
        """Digests in the announcement, by their algorithms."""
        return {self.algorithm: self.digest.rpartition("=")[2].lower()} if "=" in self.digest else {}

    def facts(self) -> Facts:
        """Return what the storage has to know.

        Raises:
            FileRefused: the name is not accepted.
        """
        try:
            return Facts(safe_path(self.name), self.size, self.digest, self.algorithm)
        except ValueError as error:
            raise FileRefused("bad-name", str(error)) from error


@dataclass(frozen=True, slots=True)
class Resume:
    """Wish to go on with an upload."""

    id: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Wish to remove an unfinished upload."""

    id: str


@dataclass(frozen=True, slots=True)
class Hello:
    """Greeting of a peer, with what it wants."""

    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Token, or user and password."""

    token: str | None = None
    user: str | None = None
    password: str | None = None


Line = Put | Resume | Drop | Hello | Credentials


def parse(line: bytes) -> Line:
    """Parse a line.

    Raises:
        FileRefused: it is none of this protocol.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise FileRefused("bad-request", "expected UTF-8, found something else") from error
    if match := _FILE.fullmatch(text):
        size = None if match["size"] == "-" else int(match["size"])
        id = (match["id"] or "").replace("-", "")  # noqa: A001
        algorithm = match["algorithm"] or "sha256"
        return Put(match["command"] or "continue", id, size, match["digest"], algorithm, match["name"])
    if match := _RESUME.fullmatch(text):
        return Resume(match[1])
    if match := _DROP.fullmatch(text):
        return Drop(match[1])
    if match := _HELLO.fullmatch(text):
        return Hello(frozenset((match[1] or "").split()))
    if match := _TOKEN.fullmatch(text):
        return Credentials(token=match[1])
    if match := _USER.fullmatch(text):
        return Credentials(user=match[1], password=match[2])
    raise FileRefused("bad-request", f"expected 'put SIZE DIGEST NAME', found {text!r}")


def parse_digest(line: bytes, algorithm: str) -> dict[str, str]:
    """Return the digest that follows the data, by its algorithm.

    Raises:
        FileRefused: it is none of this algorithm.
    """
    match = _DIGEST.fullmatch(line)
    if match is None or match[1].decode() != algorithm:
        raise FileRefused("bad-request", f"expected '{algorithm}=HEX' after the data, found {line!r}")
    return {algorithm: match[2].decode().lower()}


def announces(data: bytes) -> bool | None:
    """Tell whether bytes are what a peer sends before it waits, and no more; None if they may become that."""
    if len(data) > MAX_LINE:
        return False
    if b"\n" not in data and any(data.startswith(word[: len(data)]) for word in _BEGINNINGS):
        return None
    if data.startswith(b"token ") and data.count(b"\n") == 1:
        rest = data.partition(b"\n")[2]
        return None if b"hello upload".startswith(rest[:12]) else False
    if _OURS.fullmatch(data):
        return True
    text = data.decode(errors="replace")
    match = _FILE.fullmatch(text.removesuffix("\n").removesuffix("\r")) if text.endswith("\n") else None
    return match is not None and match["command"] == "put"
