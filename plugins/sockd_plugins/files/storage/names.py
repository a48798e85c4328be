"""Names of files from names that peers send; no other code makes them."""

from __future__ import annotations

import fnmatch
import os.path
import re
import secrets
import time
import unicodedata
from collections.abc import Iterable, Iterator

from sockd.text import printable

MAX_BYTES = 200
"""Bytes of a name in UTF-8: file systems take 255, and a number before the extension needs room."""

MAX_PATH_BYTES = 1000
"""Bytes of a relative path in UTF-8: PATH_MAX is 4096, and the directory and a number need room."""

MAX_DEPTH = 32
"""Components of a relative path: each is a system call at each file."""

MAX_COPIES = 999
"""Files of one name: finding a free number costs a system call for each number that is taken."""

_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # `fdp.exe` looks like `exe.pdf`

_CONTROLS = {
    "Cc": "a control character",
    "Cs": "half a surrogate pair",
    "Zl": "a line end",
    "Zp": "a line end",
}
_NOT_EVERYWHERE = ':*?"<>|'  # Windows takes none of them, and stores `a.txt:b` within `a.txt`
_WINDOWS_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)


def safe_name(raw: str) -> str:
    """Return the name in Unicode's composed form, if it means the same file on every system.

    Raises:
        ValueError: the name is refused; the text tells why. Nothing is repaired: a peer that sends a path, or
            hides a character, does not mean the file that would be stored.
    """
    name = unicodedata.normalize("NFC", raw)
    if fault := _fault(name):
        raise ValueError(f"expected a plain file name, found {fault}: {printable(repr(raw))}")
    return name


def safe_path(raw: str) -> str:
    """Return a relative path whose components `safe_name` accepts, such as `folder/a.txt`.

    Raises:
        ValueError: the path is refused; the text tells why.
    """
    if raw.startswith("/"):
        raise ValueError(f"expected a relative path, found an absolute one: {printable(repr(raw))}")
    if raw.count("/") >= MAX_DEPTH:
        raise ValueError(f"expected a path of at most {MAX_DEPTH} components, found more")
    path = "/".join(safe_name(component) for component in raw.split("/"))
    if len(path.encode()) > MAX_PATH_BYTES:
        raise ValueError(f"expected a path of at most {MAX_PATH_BYTES} bytes, found more")
    return path


def _fault(name: str) -> str | None:
    for char in name:
        if char in "/\\":
            return "a path"
        if char in _NOT_EVERYWHERE:
            return f"a character that not every system takes in a file name ({char})"
        if found := _CONTROLS.get(unicodedata.category(char)):
            return found
    if _BIDI.search(name):
        return "a control of the writing direction"
    if printable(name) != "".join(" " if char.isspace() else char for char in name):
        return "a character that is not seen"
    if not name:
        return "an empty one"
    if len(name.encode()) > MAX_BYTES:
        return f"more than {MAX_BYTES} bytes"
    if name[0] in ".-" or name[0].isspace():
        return "a dot, a dash or a space in front"
    if name[-1] == "." or name[-1].isspace():
        return "a dot or a space at the end"
    if _WINDOWS_DEVICE.match(name):
        return "the name of a device"
    return None


def pattern_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return the expression for names that fit one of some patterns of a shell, such as `*.pdf`.

    Letters count as the same in either case.
    """
    return re.compile("|".join(map(fnmatch.translate, patterns)), re.IGNORECASE)


def candidates(name: str) -> Iterator[str]:
    """Yield the names to try for a file, in turn: `a.txt`, `a (2).txt`, `a (3).txt` …"""
    yield name
    stem, extension = os.path.splitext(name)
    for number in range(2, MAX_COPIES + 1):
        yield f"{stem} ({number}){extension}"


def timed_name() -> str:
    """Return a name for a file of which nobody has told one: the time in UTC and four random bytes."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}.bin"
