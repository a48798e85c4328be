"""Lines of IRC: RFC 1459 and 2812, with message tags (IRCv3). Bounded, and UTF-8 only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sockd.text import printable

MAX_LINE = 510
"""Bytes of a line without its end and its tags (RFC 2812, 2.3: 512 with CR LF)."""

MAX_TAGS = 4096
"""Bytes of the tags of a client, from `@` to the space behind them."""

MAX_INPUT = 8191
"""Bytes of a line that is read to its end and refused by itself; a longer one ends the connection."""

MAX_PARAMETERS = 15

_TAG_KEY = re.compile(r"\+?([A-Za-z0-9.-]+/)?[A-Za-z0-9-]+")

_UNESCAPED = {":": ";", "s": " ", "r": "\r", "n": "\n"}

_ESCAPED = str.maketrans({";": r"\:", " ": r"\s", "\\": "\\\\", "\r": r"\r", "\n": r"\n"})

_COMMAND = re.compile(r"[A-Za-z]+|[0-9]{3}")

_SHOWN = 64
"""Characters of a peer's word that an answer repeats, so that the answer fits into a line."""


class InputTooLong(ValueError):
    """Error of a line with more bytes than a client may send."""


class NotUtf8(ValueError):
    """Error of a line that is not UTF-8.

    Args:
        command: the line's, for the answer.
    """

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


@dataclass(frozen=True, slots=True)
class Message:
    """Line from a client.

    Attributes:
        command: in upper case; anything but a name of letters or three digits is no command.
        parameters: at most `MAX_PARAMETERS`.
        tags: by key, with `+` if only clients read them.
    """

    command: str
    parameters: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


def parse(line: bytes) -> Message | None:
    """Return the message of a line without its end; None for a blank one.

    A source in front of the command is left out: a client speaks for itself alone.

    Raises:
        InputTooLong: its tags or its rest have more bytes than a client may send.
        NotUtf8: it has other bytes.
    """
    raw_tags = b""
    if line.startswith(b"@"):
        raw_tags, _, line = line.partition(b" ")
        if len(raw_tags) >= MAX_TAGS:
            raise InputTooLong
    if len(line) > MAX_LINE:
        raise InputTooLong
    try:
        text, tags = line.decode(), raw_tags.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8(_command_of(line)) from error
    words = _words(text.replace("\0", "").replace("\r", ""))
    if words and words[0].startswith(":"):
        del words[0]
    if not words:
        return None
    return Message(words[0].upper(), tuple(words[1:]), parsed_tags(tags[1:]) if tags else {})


def escaped(value: str) -> str:
    """Return the value of a tag as it is sent."""
    return value.translate(_ESCAPED)


def repeated(word: str) -> str:
    """Return a peer's word as a parameter in the middle of an answer."""
    word = printable(word)[:_SHOWN].replace(" ", "_")
    return word if word and not word.startswith(":") else "*"


def is_command(word: str) -> bool:
    """Tell whether a word has the form of a command."""
    return _COMMAND.fullmatch(word) is not None


def _words(text: str) -> list[str]:
    head, colon, trailing = text.partition(" :")
    words = [word for word in head.split(" ") if word]
    if colon:
        words.append(trailing)
    if len(words) > MAX_PARAMETERS + 1:
        del words[MAX_PARAMETERS + 1 :]
    return words


def parsed_tags(text: str) -> dict[str, str]:
    """Return the tags in a text such as `a=b;c=d`; what has not the form of one is left out."""
    tags: dict[str, str] = {}
    for tag in text.split(";"):
        key, _, value = tag.partition("=")
        if _TAG_KEY.fullmatch(key):
            tags[key] = _unescape(value)
    return tags


def _unescape(value: str) -> str:
    if "\\" not in value:
        return value
    characters: list[str] = []
    rest = iter(value)
    for character in rest:
        if character == "\\":
            following = next(rest, "")
            characters.append(_UNESCAPED.get(following, following))
        else:
            characters.append(character)
    return "".join(characters)


def _command_of(line: bytes) -> str:
    word = next(iter(line.split()), b"").decode("ascii", "replace").upper()
    return word if is_command(word) else "*"
