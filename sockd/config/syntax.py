"""Errors of TOML syntax in words: the mistake, and its correction."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from sockd.config.positions import KeyPath, find_repeated

_STRING_START = re.compile(r"""["'\u2018-\u201f\u00ab\u00bb]""")
_ASSIGNMENT = re.compile(r"""[ \t]*[^=#\n]+?[ \t]*=[ \t]*""")
_KEY_LINE = re.compile(r"""[ \t]*(?:\[|[A-Za-z0-9_."'-]+[ \t]*=)""")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+")
_LEADING_ZERO = re.compile(r"0+([1-9]\d*)")
_WORDS = {
    "true": "true",
    "yes": "true",
    "on": "true",
    "false": "false",
    "no": "false",
}
_NOTHING = ("null", "none", "nil")


@dataclass(frozen=True, slots=True)
class Slip:
    """Mistake of syntax.

    Attributes:
        start: offset of its first character.
        end: offset behind its last one.
        message: what was expected, what was found and what to do.
        nearest: the text that was probably meant; empty if that is not known.
    """

    start: int
    end: int
    message: str
    nearest: str = ""


def explain(text: str, at: int, reason: str) -> Slip:
    """Explain an error of the parser to a person.

    Args:
        text: the whole text, with bare newlines.
        at: the offset at which the parser has stopped.
        reason: its own words.
    """
    for beginning, told in _EXPLAINED.items():
        if reason.startswith(beginning) and (slip := told(text, at)) is not None:
            return slip
    return Slip(at, at + 1, f"not TOML: {reason[:1].lower()}{reason[1:]}")


def _value(text: str, at: int) -> Slip | None:
    """Explain a value that is missing or faulty."""
    if (opened := _open_array(text, at)) is not None and (at >= len(text) or _KEY_LINE.match(text, at)):
        return _unclosed(text, opened)
    start, end = at, _word_end(text, at)
    word = text[start:end]
    if not word:
        return Slip(at, at + 1, f"expected a value after '=', found {_character(text, at)}")
    return _unquoted(text, start, end)


def _unquoted(text: str, start: int, end: int) -> Slip:
    word = text[start:end]
    if unicodedata.category(word[0]) in ("Pi", "Pf"):
        return Slip(start, start + 1, f'expected plain quotes ("), found {word[0]}')
    if (known := _WORDS.get(word.lower())) is not None:
        return Slip(start, end, f"expected true or false, or a string in quotes, found {word}", known)
    if word.lower() in _NOTHING:
        return Slip(start, end, f"expected a value, found {word}: leave the key out, or put it in quotes")
    if _THOUSANDS.fullmatch(word):
        plain = word.replace(",", "_")
        return Slip(start, end, f"expected a number without commas, found {word}", plain)
    if (zeros := _LEADING_ZERO.fullmatch(word)) is not None:
        return Slip(start, end, f"expected a number without leading zeros, found {word}", zeros[1])
    return Slip(start, end, f"expected a string in quotes, found {_short(word)}", f'"{word}"')


def _after_statement(text: str, at: int) -> Slip | None:
    """Explain text in the line after a whole statement."""
    begin = text.rfind("\n", 0, at) + 1
    if text[begin:at].lstrip().startswith("["):
        return Slip(
            at, _line_end(text, at), "expected the end of the line after a table's name: begin a new line"
        )
    assigned = _ASSIGNMENT.match(text, begin)
    if (
        assigned is not None
        and assigned.end() < at
        and not _STRING_START.match(text, assigned.end())
        and (text[assigned.end()] not in "[{")
    ):
        return _unquoted(text, assigned.end(), max(at + 1, _word_end(text, assigned.end(), in_array=False)))
    return Slip(at, at + 1, f"expected the end of the line after a value, found {_character(text, at)}")


def _array(text: str, at: int) -> Slip | None:
    """Explain an entry with neither a comma nor a bracket after it."""
    opened = _open_array(text, at)
    if opened is not None and (at >= len(text) or _KEY_LINE.match(text, at)):
        return _unclosed(text, opened)
    if _STRING_START.match(text, at) or text[at] in "[{":
        return Slip(at, at + 1, f"expected a comma between two entries, found {_character(text, at)}")
    start = at
    while start and text[start - 1] not in " \t\n,[":
        start -= 1
    if _STRING_START.match(text, start):
        return Slip(at, at + 1, f"expected a comma or ']' after an entry, found {_character(text, at)}")
    return _unquoted(text, start, max(at + 1, _word_end(text, start)))


def _inline(text: str, at: int) -> Slip | None:
    """Explain a key and its value with neither a comma nor a brace after them."""
    return Slip(at, at + 1, f"expected a comma or '}}' in an inline table, found {_character(text, at)}")


def _unclosed(text: str, opened: int) -> Slip:
    line = text.count("\n", 0, opened) + 1
    return Slip(opened, opened + 1, f"expected ']' at the end of the array that begins here, in line {line}")


def _open_array(text: str, at: int) -> int | None:
    """Return where the array begins that is open at an offset, if the last assignment before it is one."""
    for line_start in _line_starts_before(text, at):
        assigned = _ASSIGNMENT.match(text, line_start)
        if assigned is not None and assigned.end() <= at:
            opened = assigned.end()
            return opened if text.startswith("[", opened) and opened < at else None
    return None


def _line_starts_before(text: str, at: int) -> list[int]:
    starts: list[int] = []
    start = at
    while start >= 0 and len(starts) < 1000:
        start = text.rfind("\n", 0, start)
        starts.append(start + 1)
    return starts


def _string(text: str, at: int) -> Slip | None:
    """Explain a character that no string may have; mostly a line's end, as the closing quote is missing."""
    if text.startswith("\n", at) or at >= len(text):
        begins = [0, *(found.end() for found in re.finditer("\n", text))] if at >= len(text) else ()
        for begin in (*begins, text.rfind("\n", 0, at) + 1):
            end = _line_end(text, begin)
            if (opening := _open_quote(text, begin, end)) is not None:
                return Slip(opening, end, f"expected a closing {text[opening]} at the end of the string")
        return Slip(at - 1, at, "expected the closing quotes of a string")
    code = ord(text[at])
    return Slip(at, at + 1, f"expected no control character here: in a string write \\u{code:04x}")


def _open_quote(text: str, begin: int, end: int) -> int | None:
    """Return where the string begins that is open at the end of a line."""
    quote, opened, place = "", begin, begin
    while place < end:
        character = text[place]
        if quote == '"' and character == "\\":
            place += 1
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote, opened = character, place
        elif not quote and character == "#":
            break
        place += 1
    return opened if quote else None


def _backslash(text: str, at: int) -> Slip | None:
    start = max(text.rfind("\\", 0, at + 1), 0)
    return Slip(
        start,
        min(start + 2, len(text)),
        "expected \\\\ for a backslash, or single quotes around the string, in which it stands for itself",
    )


def _equals(text: str, at: int) -> Slip | None:
    return Slip(at, at + 1, f"expected '=' between a key and its value, found {_character(text, at)}")


def _header(text: str, at: int) -> Slip | None:
    if text[at : at + 1] in ("", "\n", "#"):
        return Slip(at, at + 1, f"expected ']' after a table's name, found {_character(text, at)}")
    return Slip(
        at,
        at + 1,
        f"expected ']' after a table's name, found {_character(text, at)}: other names need quotes",
    )


def _statement(text: str, at: int) -> Slip | None:
    character = text[at : at + 1]
    if character in (";", "/", "%", "!") or text.startswith("--", at):
        return Slip(at, at + 1, f"expected '#' at the beginning of a comment, found {character}")
    if character == "{":
        return Slip(at, at + 1, "expected TOML, found JSON: write tables such as [service.echo]")
    found = _character(text, at)
    return Slip(
        at, at + 1, f"expected a key with its value, or a table such as [service.echo], found {found}"
    )


def _repeated(text: str, at: int) -> Slip | None:
    """Explain a key or table that is there already, with both places."""
    found = find_repeated(text, at)
    if found is None:
        return Slip(at - 1, at, "a key is given twice in this inline table: leave one of the two out")
    path, new, old = found
    line = text.count("\n", 0, old.key_start) + 1
    name = _named(path)
    if text.startswith("[", new.start) and text.startswith("[", old.start):
        what = f"the table [{name}] is there already, in line {line}: move these keys there, or rename it"
    else:
        what = f"'{name}' is there already, in line {line}: leave one of the two out"
    return Slip(new.key_start, new.key_end, what)


def _named(path: KeyPath) -> str:
    return ".".join(str(step) for step in path if isinstance(step, str))


def _character(text: str, at: int) -> str:
    character = text[at : at + 1]
    if character in ("", "\n"):
        return "the end of the line" if character else "the end of the file"
    if character.isprintable() and character != " " and ord(character) < 0x250:
        return f"'{character}'"
    if character == " ":
        return "a blank"
    return f"U+{ord(character):04X} ({unicodedata.name(character, 'no character').lower()})"


def _word_end(text: str, at: int, *, in_array: bool | None = None) -> int:
    """Return where a word without quotes ends: at the line's end, a comment, or in an array a comma or
    bracket.
    """
    stops = "\n#,]}" if in_array or (in_array is None and _open_array(text, at) is not None) else "\n#"
    end = at
    while end < len(text) and text[end] not in stops:
        end += 1
    return at + len(text[at:end].rstrip().rstrip(";"))


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _short(word: str) -> str:
    return word if len(word) <= 40 else word[:39] + "…"


_EXPLAINED: dict[str, Callable[[str, int], Slip | None]] = {
    "Invalid value": _value,
    "Invalid date": _value,
    "Expected newline": _after_statement,
    "Unclosed array": _array,
    "Unclosed inline": _inline,
    "Illegal character": _string,
    "Unterminated string": _string,
    "Expected '\"": _string,
    "Expected \"'": _string,
    "Unescaped": _backslash,
    "Expected '='": _equals,
    "Expected ']": _header,
    "Invalid initial character for a key": _statement,
    "Invalid statement": _statement,
    "Cannot": _repeated,
    "Duplicate": _repeated,
}
"""Explanations by the beginning of the parser's own message."""
