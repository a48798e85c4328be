"""Text from peers, made safe to show on a terminal or in a log; errors of the system in words."""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""Characters that `str.isprintable` lets through although they are invisible: the others of Unicode's
property Default_Ignorable_Code_Point, such as fillers and variation selectors, and the blank of Braille."""

_JOINERS = "\u200c\u200d"
"""ZWNJ and ZWJ: invisible, but many scripts and emoji cannot be written without them."""

_PRESENTATION = "\ufe0e\ufe0f"
"""Selectors of the text and the emoji form of the symbol before them."""

_KEYCAP = "\u20e3"

_VIRAMA = 9
"""Combining class of the sign beside which a joiner shapes a letter (RFC 5892, A.1 and A.2)."""

_PICTURES = ("So", "Sk", "Sm")
"""Categories of emoji: pictures, skin tones, and arrows."""

_MORE_PICTURES = "\u203c\u2049\u2139\u3030"
"""Emoji of further categories."""


def printable(text: str) -> str:
    r"""Return text in one line, with what moves a cursor, reorders words or is invisible written out: `\x1b`.

    Kept are the letters, marks, digits, punctuation and symbols of every script, joiners where they shape
    their neighbours, and the presentation of emoji. Every kind of space becomes a plain one. For reading
    only: the result cannot be turned back, as a backslash stays as it is.
    """
    if text.isprintable() and (text.isascii() or not _UNSEEN.search(text)):
        return text
    return "".join(character if is_seen(character) else _shown(text, at) for at, character in enumerate(text))


def decoded(data: bytes) -> str:
    r"""Return bytes as printable text: UTF-8, and each byte that is none written out: `\xff`."""
    return printable(data.decode("utf-8", "backslashreplace"))


def describe_os_error(error: OSError) -> str:
    """Return the reason of a failed system call in lower case: `permission denied`."""
    return (error.strerror or str(error)).lower()


def is_seen(character: str) -> bool:
    """Tell whether a character shows something, or is the plain space, and moves nothing else."""
    return character.isprintable() and not _UNSEEN.match(character)


def _shown(text: str, at: int) -> str:
    character = text[at]
    if unicodedata.category(character) == "Zs":
        return " "
    before, after = text[max(0, at - 1) : at], text[at + 1 : at + 2]
    if character in _PRESENTATION and (_is_picture(before) or after == _KEYCAP):
        return character
    if character in _JOINERS and _joins(text, at, before, after):
        return character
    return _written_out(ord(character))


def _joins(text: str, at: int, before: str, after: str) -> bool:
    """Tell whether the joiner at `at` has a visible effect."""
    if _VIRAMA in map(unicodedata.combining, before + after):
        return True
    if _is_picture(after):
        return _is_picture(text[at - 2] if before in _PRESENTATION and at > 1 else before)
    while before and unicodedata.combining(before):  # vowel signs of Arabic stand on its letters
        at -= 1
        before = text[max(0, at - 1) : at]
    return _is_joining_letter(before) and _is_joining_letter(after)


def _is_joining_letter(character: str) -> bool:
    """Tell whether a joiner can shape a character, as it can Arabic ones."""
    return character.isalpha() and unicodedata.bidirectional(character) == "AL"


def _is_picture(character: str) -> bool:
    if not character or character.isascii() or not is_seen(character):
        return False
    return unicodedata.category(character) in _PICTURES or character in _MORE_PICTURES


def _written_out(code: int) -> str:
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
