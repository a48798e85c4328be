"""A configuration text with its values and their places, and the faults found in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli

from sockd.config.faults import visible
from sockd.config.positions import KeyPath, Span, find_spans, offset_in_string
from sockd.errors import ConfigError, Fault, ValueFault
from sockd.reading import UTF_16, Unencoded, Unreadable, read_text

_DESCRIPTORS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
_ONCE = "expected a file, which a reload can read again; only `sockd check` reads a descriptor"


class Text(str):
    """A value that had no type where it was written, as on a command line: `5` also does as a number."""

    __slots__ = ()


class Secret(str):
    """A value from the environment or a file: without a type, and no message about it shows it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Document:
    """One text to be read as configuration.

    Attributes:
        name: what faults call it: the file's path, or `command line`.
        text: the whole text that the spans point into, its lines ending in a bare newline.
        data: its values, as tomli gives them.
        spans: the place of each value; for a path that is missing its parent's place does.
        folder: what relative paths in it count from.
    """

    name: str
    text: str
    data: Mapping[str, Any]
    spans: Mapping[KeyPath, Span]
    folder: Path

    def get(self, path: KeyPath) -> Any:
        """The value at `path`, None where there is none."""
        value: Any = self.data
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def with_value(self, path: KeyPath, value: Any) -> Document:
        """The same document with another value at `path`."""

        def changed(data: Any, steps: KeyPath) -> Any:
            if not steps:
                return value
            data = data.copy()
            data[steps[0]] = changed(data[steps[0]], steps[1:])
            return data

        return replace(self, data=changed(self.data, path))

    def span(self, path: KeyPath) -> Span:
        """Where `path` stands, or else the nearest table around it."""
        while path and path not in self.spans:
            path = path[:-1]
        return self.spans.get(path, Span(0, 0, 0, 0))

    def place(self, path: KeyPath) -> str:
        """`file:line` of a key, for a fault elsewhere that refers to it."""
        return f"{self.name}:{self.text.count(chr(10), 0, self.span(path).key_start) + 1}"

    def part(self, path: KeyPath, offset: int, length: int) -> tuple[int, int]:
        """Where `length` characters of the string at `path` stand in the text; 0 means up to its end.

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
    """Read a TOML file, which faults call `name`, or by its path.

    Args:
        path: of the file.
        name: what faults call it.
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
    # Paths in what comes through a pipe count from where the command was given.
    folder = path.absolute().parent if path.is_file() and not descriptor else Path.cwd()
    return parsed(name, text.replace("\r\n", "\n"), folder)


def parsed(name: str, text: str, folder: Path) -> Document:
    """A text as a document; arguments as its attributes.

    Raises:
        ConfigError: it is not TOML.
    """
    try:
        return Document(name, text, tomli.loads(text), find_spans(text), folder)
    except tomli.TOMLDecodeError as error:
        message = f"not TOML: {error.msg[:1].lower()}{error.msg[1:]}"
        raise ConfigError([locate(name, text, error.pos, error.pos + 1, message)]) from error
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


def locate(name: str, text: str, start: int, end: int, message: str, **words: Any) -> Fault:
    """A fault about `text[start:end]`. A part that runs over several lines is marked on its first."""
    start = min(start, len(text))
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    return Fault(
        message=visible(message),
        file=name,
        line=text.count("\n", 0, start) + 1,
        column=start - line_start + 1,
        length=max(1, min(end, line_end) - start),
        source=text[line_start:line_end],
        **words,
    )


SHORTEST_SECRET = 4
"""Characters."""


class Faults:
    """Collects the faults of one run. Of several about the same value only the first is kept."""

    def __init__(self) -> None:
        self._unplaced: list[Fault] = []
        self._at: dict[tuple[str, KeyPath], Fault] = {}
        self._hidden: dict[str, str] = {}

    def hide(self, value: str, name: str) -> None:
        """Show `name` in the place of a value from outside the text, in every fault from now on.

        One shorter than `SHORTEST_SECRET` stands in too many words by chance.
        """
        if len(value) >= SHORTEST_SECRET:
            self._hidden[value] = name

    def __bool__(self) -> bool:
        return bool(self._unplaced or self._at)

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
        if self._hidden:
            message, words = self._told(message), {key: self._told(word) for key, word in words.items()}
        fault = locate(document.name, document.text, *part, message, **words)
        self._at.setdefault((document.name, path), fault)

    def _told(self, text: Any) -> Any:
        """A text without what is hidden, the longest first."""
        for value in sorted(self._hidden, key=len, reverse=True) if isinstance(text, str) else ():
            text = text.replace(value, self._hidden[value])
        return text

    def extend(self, faults: tuple[Fault, ...]) -> None:
        """Add faults of a file that could not be read at all."""
        self._unplaced.extend(faults)

    def error(self) -> ConfigError:
        """All of them, by file and line."""
        faults = [*self._unplaced, *self._at.values()]
        return ConfigError(sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column)))


def where(path: KeyPath) -> tuple[str, str]:
    """A path in words, in two parts that may be empty: `service 'echo'` and `listen[1].endpoint`."""
    owner = ""
    if len(path) > 1 and path[0] == "service":
        owner, path = f"service '{path[1]}'", path[2:]
    inner = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return owner, inner.removeprefix(".")


def sentence(path: KeyPath, what: str) -> str:
    """A message that begins with the place: `service 'echo': listen[1]: no such thing`."""
    return ": ".join(part for part in (*where(path), what) if part)
