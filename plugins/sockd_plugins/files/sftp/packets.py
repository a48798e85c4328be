"""Packets of SFTP, version 3 (draft-ietf-secsh-filexfer-02), and what OpenSSH adds (PROTOCOL, 4)."""

from __future__ import annotations

import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sockd_plugins.files.sftp.fields import Fields, Malformed, long, number, string
from sockd_plugins.files.storage.refused import Code, FileRefused

INIT, VERSION = 1, 2
OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT = 3, 4, 5, 6, 7, 8, 9, 10
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME = 11, 12, 13, 14, 15, 16, 17, 18
READLINK, SYMLINK = 19, 20
EXTENDED, EXTENDED_REPLY = 200, 201
_STATUS, _HANDLE, _NAME, _ATTRIBUTES = 101, 102, 104, 105

TO_READ, TO_WRITE, TO_APPEND, TO_CREATE, TO_TRUNCATE, TO_EXCLUDE = 1, 2, 4, 8, 16, 32
"""Flags of OPEN."""

OK, END, NO_SUCH_FILE, DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8
"""Codes of a status. OpenSSH shows no text and takes others for unknown, so that there are no more here."""

LARGEST = 256 << 10
"""Bytes of a packet at most, as in OpenSSH."""

WRITE_LENGTHS = (
    261_101, 261_089, 261_077, 261_071, 261_061, 261_059, 261_043, 261_031,
    261_017, 261_013, 261_011, 260_999, 260_987, 260_983, 260_969, 260_959,
)  # fmt: skip
"""Bytes of data in a WRITE at most, one of them for each session, as `limits@openssh.com` tells them to
OpenSSH's client, which then sends so many.

Ctrl-C makes that client close what it has sent, like a whole file; but a whole file ends with a smaller
WRITE, unless it is a multiple of this length. Primes have hardly any multiples among the sizes of files, and
two of them none below 68 GB in common, so that no size is refused in every session.
"""

MOST_HANDLES = 32
"""Files and folders that a session may have open."""

EXTENSIONS = (b"limits@openssh.com", b"fsync@openssh.com", b"posix-rename@openssh.com")

_LONGEST_TEXT = 500  # characters of the text of a status

_SIZE, _OWNER, _MODE, _TIMES, _EXTENDED = 1, 2, 4, 8, 0x80000000

_MOST_EXTENDED = 16  # attributes that are skipped

_STATUSES: dict[Code, int] = {
    "bad-name": DENIED,
    "denied": DENIED,
    "expired": DENIED,
    "unknown": NO_SUCH_FILE,
}


@dataclass(frozen=True, slots=True)
class Attributes:
    """Attributes of a file or folder; None for those that are not told.

    Attributes:
        size: in bytes.
        mode: type and permissions.
        times: seconds since 1970 of the last access and the last change.
    """

    size: int | None = None
    mode: int | None = None
    times: tuple[int, int] | None = None

    @property
    def is_folder(self) -> bool:
        """True for a folder."""
        return self.mode is not None and stat.S_ISDIR(self.mode)


def read_attributes(request: Fields) -> Attributes:
    """Read attributes; those that nothing here can use are skipped."""
    flags = request.number()
    size = request.long() if flags & _SIZE else None
    if flags & _OWNER:
        request.take(8)
    mode = request.number() if flags & _MODE else None
    times = (request.number(), request.number()) if flags & _TIMES else None
    if flags & _EXTENDED:
        count = request.number()
        if count > _MOST_EXTENDED:
            raise Malformed(f"expected at most {_MOST_EXTENDED} more attributes, found {count}")
        for _ in range(2 * count):
            request.string()
    return Attributes(size, mode, times)


def packet(kind: int, *parts: bytes) -> bytes:
    """Return a packet."""
    return b"".join((number(1 + sum(map(len, parts))), bytes((kind,)), *parts))


def version() -> bytes:
    """Return the answer to INIT."""
    return packet(VERSION, number(3), *(string(name) + string(b"1") for name in EXTENSIONS))


def status(request: bytes, code: int, text: str = "") -> bytes:
    """Return the answer to a request, whose number is `request`, with a code and a text for people."""
    return packet(_STATUS, request, number(code), string(text[:_LONGEST_TEXT]), string(b"en"))


_OK = number(OK) + string(b"") + string(b"en")
_OK_HEAD = number(1 + 4 + len(_OK)) + bytes((_STATUS,))


def done(request: bytes) -> bytes:
    """Return the answer to a request that was done; there is one for each packet of data."""
    return _OK_HEAD + request + _OK


def refusal(request: bytes, refused: FileRefused) -> bytes:
    """Return the answer to a request that was refused."""
    return status(request, _STATUSES.get(refused.code, FAILURE), str(refused))


def handle(request: bytes, name: bytes) -> bytes:
    """Return the answer to OPEN and OPENDIR."""
    return packet(_HANDLE, request, string(name))


def attributes(request: bytes, found: Attributes) -> bytes:
    """Return the answer to STAT."""
    return packet(_ATTRIBUTES, request, _attributes(found))


def names(request: bytes, entries: Sequence[tuple[str, Attributes]]) -> bytes:
    """Return the answer to READDIR and REALPATH."""
    parts = [string(name) + string(_line(name, found)) + _attributes(found) for name, found in entries]
    return packet(_NAME, request, number(len(entries)), *parts)


def limits(request: bytes, write: int) -> bytes:
    """Return the answer to `limits@openssh.com`, with the bytes of data in a WRITE at most."""
    return packet(EXTENDED_REPLY, request, long(LARGEST), long(write), long(write), long(MOST_HANDLES))


def _attributes(found: Attributes) -> bytes:
    flags, parts = 0, []
    if found.size is not None:
        flags |= _SIZE
        parts.append(long(found.size))
    if found.mode is not None:
        flags |= _MODE
        parts.append(number(found.mode))
    if found.times is not None:
        flags |= _TIMES
        parts += [number(min(max(seconds, 0), 0xFFFFFFFF)) for seconds in found.times]
    return b"".join((number(flags), *parts))


def _line(name: str, found: Attributes) -> str:
    """Return the line that `ls -l` of a client shows."""
    when = time.strftime("%b %d  %Y", time.gmtime(found.times[1] if found.times else 0))
    return f"{stat.filemode(found.mode or 0)}    1 -        -        {found.size or 0:12} {when} {name}"
