"""Places of the keys and values of a TOML text. tomli gives the values without their places.

The text must be one that tomli has accepted: nothing is checked a second time here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import tomli

from sockd.errors import ValueFault

KeyPath = tuple[str | int, ...]
"""Path to a value: keys of tables and indices of arrays."""

MAX_DEPTH = 32
"""Levels of tables and arrays: a configuration needs six, and code that walks its values may recurse."""


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of a key and of its value. A table's value is its header, an array element is its own key."""

    key_start: int
    key_end: int
    start: int
    end: int


_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_STRING = r'"""(?:[^\\]|\\.)*?"{3,5}|"(?:[^"\\]|\\.)*"|' + r"'''.*?'{3,5}|'[^']*'"
_KEY = re.compile(rf"[A-Za-z0-9_-]+|{_STRING}", re.DOTALL)
# Of all other values only a date may contain a blank.
_SCALAR = re.compile(rf"{_STRING}|\d{{4}}-\d\d-\d\d \d\d:[^\s,\]}}#]+|[^\s,\]}}#]+", re.DOTALL)

_FOLD = re.compile(r"(?:\\[ \t]*\n[ \t\n]*)*")
_CHARACTER = re.compile(r"\\x..|\\u.{4}|\\U.{8}|\\.|.", re.DOTALL)


def find_spans(text: str) -> dict[KeyPath, Span]:
    """Return the place of every table, array and value.

    Raises:
        ValueFault: the tables are nested too deeply; its offset is one of `text`.
    """
    scan = _Scan(text)
    scan.document()
    return scan.spans


def find_repeated(text: str, at: int) -> tuple[KeyPath, Span, Span] | None:
    """Return the key that a statement gives again: its path, its place there, and its place before.

    Args:
        text: one that tomli has accepted up to `at`.
        at: an offset in the statement or at its end.
    """
    scan = _Scan(text)
    table: KeyPath = ()
    before: dict[KeyPath, Span] = {}
    scan.skip(_BLANK)
    try:
        while scan.at < min(at, len(text)):
            for path, span in scan.spans.items():
                before.setdefault(path, span)
            scan.spans = {}
            if text[scan.at] == "[":
                table = scan.header()
            else:
                scan.pair(table)
            if scan.at >= at:
                break
            scan.skip(_BLANK)
    except (IndexError, ValueError):  # the statement is no TOML in other ways too
        return scan.twice
    return scan.twice or next(
        (
            (path, span, before[path])
            for path, span in sorted(scan.spans.items(), key=lambda item: len(item[0]), reverse=True)
            if path and path in before
        ),
        None,
    )


def offset_in_string(literal: str, index: int) -> int:
    """Return the offset of the character `index` of a string's value in the literal that it is written as."""
    if not literal.startswith(('"', "'")):
        return index  # a bare word of a command line
    at = 3 if literal.startswith(('"""', "'''")) else 1
    if at == 3 and literal.startswith("\n", at):
        at += 1
    if literal.startswith("'"):
        return at + index
    at = _end(_FOLD, literal, at)
    for _ in range(index):
        at = _end(_FOLD, literal, _end(_CHARACTER, literal, at))
    return at


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    start: int
    end: int


class _Scan:
    """Single pass over the text; `at` is the offset reached."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.spans: dict[KeyPath, Span] = {(): Span(0, 0, 0, 0)}
        self.lengths: dict[KeyPath, int] = {}  # of the arrays of tables so far
        self.twice: tuple[KeyPath, Span, Span] | None = None  # as `find_repeated` returns it

    def document(self) -> None:
        table: KeyPath = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_BLANK)

    def header(self) -> KeyPath:
        """Read `[a.b]` or `[[a.b]]`; return the path of the table that it opens."""
        start = self.at
        brackets = 2 if self.text.startswith("[[", start) else 1
        self.at += brackets
        *parents, last = self.keys()
        self.at += brackets
        path: KeyPath = ()
        for key in parents:
            path = self.grown(path, key.name)
            self.spans.setdefault(path, Span(key.start, key.end, start, self.at))
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
        path = self.grown(path, last.name)
        span = Span(last.start, last.end, start, self.at)
        if brackets == 2:
            index = self.lengths.get(path, 0)
            self.lengths[path] = index + 1
            self.spans.setdefault(path, span)
            path = self.grown(path, index)
        self.spans[path] = span
        return path

    def pair(self, table: KeyPath) -> None:
        """Read `a.b = value`."""
        *parents, last = self.keys()
        path = table
        for key in parents:
            path = self.grown(path, key.name)
            self.spans.setdefault(path, Span(key.start, key.end, key.start, key.end))
        self.at += len("=")
        self.skip(_SPACE)
        self.value(self.grown(path, last.name), last)

    def keys(self) -> list[_Key]:
        """Read a dotted key with the space around it."""
        keys = []
        while True:
            self.skip(_SPACE)
            start = self.at
            self.skip(_KEY)
            written = self.text[start : self.at]
            name = tomli.loads(f"x = {written}")["x"] if written[0] in "\"'" else written
            keys.append(_Key(name, start, self.at))
            self.skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def value(self, path: KeyPath, key: _Key | None = None) -> None:
        start = self.at
        match self.text[start]:
            case "[":
                self.items(path, "]")
            case "{":
                self.items(path, "}")
            case _:
                self.skip(_SCALAR)
        if self.at == start:  # or the reader of an array would loop without end
            raise ValueFault("a value", "none", offset=start)
        key_start, key_end = (key.start, key.end) if key else (start, self.at)
        span = Span(key_start, key_end, start, self.at)
        if path in self.spans and self.twice is None:
            self.twice = path, span, self.spans[path]
        self.spans[path] = span

    def items(self, path: KeyPath, close: str) -> None:
        """Read the content between the brackets of an array or the braces of an inline table."""
        self.at += 1
        self.skip(_BLANK)
        index = 0
        while self.text[self.at] != close:
            if close == "}":
                self.pair(path)
            else:
                self.value(self.grown(path, index))
            index += 1
            self.skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
                self.skip(_BLANK)
        self.at += 1

    def grown(self, path: KeyPath, step: str | int) -> KeyPath:
        if len(path) == MAX_DEPTH:
            raise ValueFault(f"at most {MAX_DEPTH} levels of tables and arrays", "more", offset=self.at)
        return (*path, step)

    def skip(self, pattern: re.Pattern[str]) -> None:
        self.at = _end(pattern, self.text, self.at)
