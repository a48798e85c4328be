"""Text in lines of IRC: formatting, actions, times, and pieces that fit into a line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FORMATTING = re.compile(
    "\x03(?:[0-9]{1,2}(?:,[0-9]{1,2})?)?"  # colour
    "|\x04(?:[0-9A-Fa-f]{6}(?:,[0-9A-Fa-f]{6})?)?"  # colour in hexadecimal digits
    "|[\x02\x0f\x11\x16\x1d\x1e\x1f]"  # bold, plain, monospace, reverse, italic, strike-through, underline
)

_CTCP = "\x01"
"""Mark around a message from one client program to another (client-to-client protocol)."""


def unformatted(text: str) -> str:
    """Return text without colours and the like: people on terminals and pages read it too."""
    return _FORMATTING.sub("", text) if not text.isprintable() else text


def ctcp(text: str) -> tuple[str, str] | None:
    """Return command and argument of a message between programs; None for words of a person."""
    if not text.startswith(_CTCP):
        return None
    command, _, argument = text.strip(_CTCP).partition(" ")
    return command.upper(), argument


def action(text: str) -> str:
    """Return the text of an action as it is sent."""
    return f"{_CTCP}ACTION {text}{_CTCP}"


def pieces(text: str, size: int) -> list[str]:
    """Return text in pieces of at most `size` bytes of UTF-8 each, cut behind a space where there is one.

    Args:
        text: what is cut; all of it is in the pieces.
        size: at least 4, the bytes of the longest character.
    """
    data = text.encode()
    if len(data) <= size:
        return [text]
    found = []
    while len(data) > size:
        end = data.rfind(b" ", size // 2, size) + 1
        if not end:
            end = size
            while data[end] & 0xC0 == 0x80:  # the middle of a character
                end -= 1
        found.append(data[:end].decode())
        data = data[end:]
    if data:
        found.append(data.decode())
    return found


def wrapped(words: list[str], size: int) -> list[str]:
    """Return words in lines of at most `size` bytes; each word is shorter than that. At least one line."""
    lines: list[str] = []
    line: list[str] = []
    length = 0
    for word in words:
        needed = len(word.encode()) + 1
        if line and length + needed > size:
            lines.append(" ".join(line))
            line, length = [], 0
        line.append(word)
        length += needed
    lines.append(" ".join(line))
    return lines


def timestamp(at: float) -> str:
    """Return a time as in the tag `time` (ISO 8601, milliseconds, UTC).

    Args:
        at: seconds since 1970.
    """
    milliseconds = int(at * 1000 + 0.001)  # what a message has in full stays the same when it is read back
    whole = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def parsed_timestamp(text: str) -> float | None:
    """Return the seconds since 1970 of such a time; None if it is none."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def spoken_time(at: float) -> str:
    """Return a time for people whose client shows none of its own: `[2026-11-28 13:05]`, in UTC."""
    return f"[{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}]"
