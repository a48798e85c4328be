"""Configuration text with its values and their places, and the faults found in it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli

from sockd.config.faults import visible
from sockd.config.positions import KeyPath, Span, find_spans, offset_in_string
from sockd.config.syntax import explain
from sockd.errors import ConfigError, Fault, ValueFault
from sockd.reading import UTF_16, Unencoded, Unreadable, absolute, read_text

MAX_FAULTS = 100
"""Faults that are shown one by one; a reader corrects some before he reads more."""

LONGEST_SOURCE = 1000
"""Characters of a fault's line, and of its message."""

_NEWLINE = re.compile("\n")

_DESCRIPTORS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
_ONCE = "expected a file, which a reload can read again; only `sockd check` reads a descriptor"


class Text(str):
    """Value that had no type where it was written, as on a command line: `5` also does as a number."""

    __slots__ = ()


class Secret(str):
    """Value from the environment or a file: without a type, and shown in no message."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Document:
    """Text of a configuration.

    Attributes:
        name: its name in faults: the file's path, or `command line`.
        text: the whole text that the spans point into, its lines ending in a bare newline.
        data: its values, as tomli gives them.
        spans: the place of each value; a path that is missing has the place of its parent.
        folder: the folder from which relative paths in it count.
    """

    name: str
    text: str
    data: dict[str, Any]
    spans: Mapping[KeyPath, Span]
    folder: Path
    _line_ends: list[int] = field(default_factory=list, repr=False, compare=False)
    """Offsets of line ends, found once for all faults and shared with copies."""

    def get(self, path: KeyPath) -> Any:
        """Return the value at `path`, None where there is none."""
        value: Any = self.data
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def with_values(self, values: Mapping[KeyPath, Any]) -> Document:
        """Return the document with other values at some paths."""
        copies: dict[KeyPath, Any] = {(): self.data.copy()}

        def copied(path: KeyPath) -> Any:
            """Return the table or array at a path, which is a copy and belongs to copies."""
            if path not in copies:
                around = copied(path[:-1])
                copies[path] = around[path[-1]] = around[path[-1]].copy()
            return copies[path]

        for path, value in values.items():
            if not path:
                return replace(self, data=value)
            copied(path[:-1])[path[-1]] = value
        return replace(self, data=copies[()])

    def span(self, path: KeyPath) -> Span:
        """Return the place of `path`, or else of the nearest table around it."""
        while path and path not in self.spans:
            path = path[:-1]
        return self.spans.get(path, Span(0, 0, 0, 0))

    def place(self, path: KeyPath) -> str:
        """Return `file:line` of a key, for a fault elsewhere that refers to it."""
        return f"{self.name}:{self.line_of(self.span(path).key_start)}"

    def line_of(self, offset: int) -> int:
        """Return the number of the line, from 1, that has the character at an offset."""
        if not self._line_ends:
            self._line_ends.extend(found.start() for found in _NEWLINE.finditer(self.text))
        return bisect_left(self._line_ends, offset) + 1

    def part(self, path: KeyPath, offset: int, length: int) -> tuple[int, int]:
        """Return the place in the text of `length` characters of the string at `path`; 0 means up to its end.

        A value whose characters are not those of the text is only found as a whole.
        """
        span = self.span(path)
        value = self.get(path)
        whole = not offset and not length
        if whole or not isinstance(value, str) or isinstance(value, Secret):
            return span.start, span.end
        literal = self.text[span.start : span.end]
        end = offset + length if length else max(offset + 1, len(value))
        return (
            span.start + offset_in_string(literal, offset),
            span.start + offset_in_string(literal, end),
        )


def read(path: Path, name: str = "", *, pipes: bool = False) -> Document:
    """Read a TOML file.

    Args:
        path: of the file.
        name: its name in faults; its path if left out.
        pipes: whether it may be a pipe or a descriptor such as /dev/stdin, which can be read only once.

    Raises:
        ConfigError: it cannot be read or is not TOML.
    """
    name = name or str(path)
    descriptor = str(path).startswith(_DESCRIPTORS)
    if descriptor and not pipes:
        raise ConfigError([Fault(f"cannot read the file: {_ONCE}", name)])
    try:
        text = read_text(path, pipes=pipes)
    except Unencoded as error:
        raise ConfigError([_unencoded(name, error)]) from error
    except Unreadable as error:
        raise ConfigError([Fault(f"cannot read the file: {error}", name)]) from error
    # Relative paths in a text from a pipe count from the current folder.
    folder = absolute(path).parent if path.is_file() and not descriptor else Path.cwd()
    return parsed(name, text.replace("\r\n", "\n"), folder)


def parsed(name: str, text: str, folder: Path) -> Document:
    """Return a text as a document; arguments as its attributes.

    Raises:
        ConfigError: it is not TOML.
    """
    try:
        return Document(name, text, tomli.loads(text), find_spans(text), folder)
    except tomli.TOMLDecodeError as error:
        slip = explain(text, error.pos, error.msg)
        fault = locate(name, text, slip.start, slip.end, slip.message, nearest=slip.nearest or None)
        raise ConfigError([fault]) from error
    except ValueFault as error:
        raise ConfigError([locate(name, text, error.offset, error.offset + 1, str(error))]) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; hundreds of brackets
        raise ConfigError([Fault(f"not TOML: {error}", name)]) from error


def _unencoded(name: str, error: Unencoded) -> Fault:
    if error.found == UTF_16:
        return Fault("expected UTF-8, found UTF-16: save the file as UTF-8", name)
    before = error.content[: error.at].decode("utf-8-sig").replace("\r\n", "\n")
    text = before + error.content[error.at :].decode(errors="replace").replace("\r\n", "\n")
    return locate(name, text, len(before), len(before) + 1, f"expected UTF-8, found {error.found}")


def locate(
    name: str, text: str, start: int, end: int, message: str, line: int | None = None, **words: Any
) -> Fault:
    """Return a fault about `text[start:end]`. A part that runs over several lines is marked on its first.

    Args:
        name: of the text.
        text: the whole text.
        start: offset of the first character.
        end: offset behind the last one.
        message: the message.
        line: number of the line that has the first character, if it is known.
        words: further attributes of the fault.
    """
    start = min(start, len(text))
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    shown = (
        line_start
        if line_end - line_start <= LONGEST_SOURCE
        else max(line_start, start - LONGEST_SOURCE // 2)
    )
    return Fault(
        message=visible(message if len(message) <= LONGEST_SOURCE else f"{message[:LONGEST_SOURCE]}…"),
        file=name,
        line=text.count("\n", 0, start) + 1 if line is None else line,
        column=start - line_start + 1,
        length=max(1, min(end, line_end) - start),
        source=text[shown : min(line_end, shown + LONGEST_SOURCE)],
        source_column=shown - line_start + 1,
        **words,
    )


SHORTEST_SECRET = 4
"""Characters of a value that is hidden in faults."""


class Faults:
    """Collector of the faults of one run. Of several about the same value only the first is kept."""

    def __init__(self) -> None:
        self._unplaced: list[Fault] = []
        self._at: dict[tuple[str, KeyPath], _Marked] = {}
        self._hidden: dict[str, str] = {}

    def hide(self, value: str, name: str) -> None:
        """Show `name` in the place of a value from outside the text, in every fault.

        A value shorter than `SHORTEST_SECRET` is shown, as it occurs in too many words by chance.
        """
        if len(value) >= SHORTEST_SECRET:
            self._hidden[value] = name

    def __len__(self) -> int:
        return len(self._unplaced) + len(self._at)

    def add(self, document: Document, path: KeyPath, message: str, **words: Any) -> None:
        """Add a fault about the value at `path`."""
        span = document.span(path)
        self.mark(document, path, (span.start, span.end), message, **words)

    def add_key(self, document: Document, path: KeyPath, message: str, **words: Any) -> None:
        """Add a fault about the key at the end of `path`."""
        span = document.span(path)
        self.mark(document, path, (span.key_start, span.key_end), message, **words)

    def mark(
        self, document: Document, path: KeyPath, part: tuple[int, int], message: str, **words: Any
    ) -> None:
        """Add a fault about the value at `path` of which only a part of the text is to be marked."""
        marked = _Marked(document, part, message, words)
        self._at.setdefault((document.name, path), marked)

    def extend(self, faults: tuple[Fault, ...]) -> None:
        """Add faults of a file that could not be read at all."""
        self._unplaced.extend(faults)

    def error(self) -> ConfigError:
        """Return all faults, by file and line: the first hundred, and the number of the others."""
        marked = sorted(self._at.values(), key=lambda each: (each.document.name, each.part[0]))
        hidden = sorted(self._hidden.items(), key=lambda item: len(item[0]), reverse=True)
        found = [each.located(hidden) for each in marked[:MAX_FAULTS]]
        faults = sorted((*self._unplaced, *found), key=lambda fault: (fault.file, fault.line, fault.column))[
            :MAX_FAULTS
        ]
        if more := len(self) - len(faults):
            faults.append(Fault(f"and {more} more: correct these first"))
        return ConfigError(faults, len(self))


@dataclass(frozen=True, slots=True)
class _Marked:
    """Fault whose line is looked up only if it is shown."""

    document: Document
    part: tuple[int, int]
    message: str
    words: dict[str, Any]

    def located(self, hidden: Sequence[tuple[str, str]]) -> Fault:
        """Return the fault with its line. Secrets are replaced, the longest first."""

        def told(text: Any) -> Any:
            for value, name in hidden if isinstance(text, str) else ():
                text = text.replace(value, name)
            return text

        words = {key: told(word) for key, word in self.words.items()}
        document, line = self.document, self.document.line_of(self.part[0])
        return locate(document.name, document.text, *self.part, told(self.message), line, **words)


def where(path: KeyPath) -> tuple[str, str]:
    """Return a path in words, in two parts that may be empty: `service 'echo'` and `listen[1].endpoint`."""
    owner = ""
    if len(path) > 1 and path[0] == "service":
        owner, path = f"service '{path[1]}'", path[2:]
    inner = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return owner, inner.removeprefix(".")


def sentence(path: KeyPath, what: str) -> str:
    """Return a message that begins with the place: `service 'echo': listen[1]: no such thing`."""
    return ": ".join(part for part in (*where(path), what) if part)
