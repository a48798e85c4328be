"""Reading of files that a person names: regular ones of bounded size, without waiting for a writer."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from sockd.text import describe_os_error

MAX_FILE = 8 * 2**20
"""Bytes of a file that has no tighter bound: half a million networks, and an end to `/dev/zero`."""

UTF_16 = "UTF-16"
"""Name of the encoding whose byte order mark begins a file, as some editors save it."""

_PIECE = 256 * 1024

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unreadable(Exception):
    """Error of a file that cannot be read or has not the right form. The text is the reason, without the
    path.
    """


class Unencoded(Unreadable):
    """Error of a file that is not UTF-8.

    Args:
        content: its bytes.
        at: the offset of the first wrong one.
        found: what stands there, as a phrase.
    """

    def __init__(self, content: bytes, at: int, found: str) -> None:
        self.line = content.count(b"\n", 0, at) + 1
        super().__init__(f"expected UTF-8, found {found} in line {self.line}")
        self.content = content
        self.at = at
        self.found = found


def read_bytes(path: Path, most: int = MAX_FILE, *, pipes: bool = False) -> bytes:
    """Return the content of a regular file.

    A FIFO, device or socket is refused at once: it may have no writer, or no end.

    Args:
        path: of the file.
        most: bytes that it may have.
        pipes: whether a pipe or terminal is read too, to its end, however long that takes.

    Raises:
        Unreadable: it cannot be read, is no regular file or is longer.
    """
    try:
        # Without O_NONBLOCK the opening of a FIFO waits for its writer (fifo(7)).
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (0 if pipes else os.O_NONBLOCK))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if (
            isinstance(error, OSError) and error.errno == errno.ENXIO
        ):  # open(2): a socket, a device without any
            raise Unreadable(_not_regular(path.stat().st_mode)) from error
        raise Unreadable(_reason(error)) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not (pipes and (stat.S_ISFIFO(mode) or os.isatty(descriptor))):
            raise Unreadable(_not_regular(mode))
        content = _read(descriptor, most + 1)
    except OSError as error:
        raise Unreadable(_reason(error)) from error
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise Unreadable(f"expected at most {most} bytes, found more")
    return content


def read_text(path: Path, most: int = MAX_FILE, *, pipes: bool = False) -> str:
    """Return the text of a regular file, without a byte order mark. Arguments and errors as of `read_bytes`.

    Raises:
        Unencoded: it is not UTF-8.
    """
    content = read_bytes(path, most, pipes=pipes)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Unencoded(content, 0, UTF_16)
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        at = len(content) - len(error.object) + error.start
        raise Unencoded(content, at, f"the byte 0x{content[at]:02x}") from error


def obstacle_to_folder(path: Path) -> str | None:
    """Return why there can be no folder at a path that this process can write to; None if there can."""
    try:
        there = next(each for each in (path, *path.parents) if os.path.lexists(each))
        if not there.is_dir():
            return f"{there} is no folder"
        return None if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to"
    except (OSError, ValueError) as error:
        return _reason(error)


def absolute(path: Path) -> Path:
    """Return a path that stays valid when the current folder is removed.

    Only leading `..` are resolved: the target of a link may change.
    """
    folder = Path() if path.is_absolute() else Path.cwd()
    while path.parts[:1] == ("..",):
        folder, path = folder.parent, Path(*path.parts[1:])
    return folder / path


def _read(descriptor: int, most: int) -> bytes:
    pieces: list[bytes] = []
    while most > 0 and (piece := os.read(descriptor, min(most, _PIECE))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _reason(error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return describe_os_error(error)


def _not_regular(mode: int) -> str:
    found = next((words for is_kind, words in _KINDS if is_kind(mode)), "something else")
    return f"expected a regular file, found {found}"
