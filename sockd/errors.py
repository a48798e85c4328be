"""Errors of sockd, named by who has to act on them."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sockd.text import printable

_OWN_FOLDER = str(Path(__file__).parent)


class ValueFault(ValueError):
    """Fault of a value that its key does not take. The reader of the file turns it into a located `Fault`.

    Args:
        expected: what the value should have been, as a phrase: `a port from 0 to 65535`.
        found: what stood there instead, as it is to be shown.
        offset: where in the value's text the fault begins, in characters.
        length: how many characters it covers; 0 means up to the end.
        nearest: the valid word that was probably meant.
    """

    def __init__(
        self, expected: str, found: str, *, offset: int = 0, length: int = 0, nearest: str | None = None
    ) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected = expected
        self.found = found
        self.offset = offset
        self.length = length
        self.nearest = nearest


@dataclass(frozen=True, slots=True)
class Fault:
    """Fault of a configuration, at its place.

    Lines and columns count from 1; `length` is the number of characters the caret line covers. `source` is
    the line, or of a long one the part that begins at `source_column`.
    """

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    length: int = 1
    source: str = ""
    expected: str = ""
    found: str = ""
    nearest: str | None = None
    source_column: int = 1


class ConfigError(Exception):
    """Error of a configuration that cannot be used. The operator acts: `faults` has all that was found.

    Args:
        faults: the faults to show.
        count: their number, if there are more than are shown.
    """

    def __init__(self, faults: Sequence[Fault], count: int = 0) -> None:
        count = count or len(faults)
        super().__init__(f"{count} fault{'s' * (count != 1)} in the configuration")
        self.faults = tuple(faults)


class PluginError(Exception):
    """Error of a plugin that cannot be imported, breaks its contract or fails. Its author acts."""


class CommandRefused(Exception):
    """Refusal of a command that an operator gives to a plugin. The text is the reason, in one line."""


class BindError(Exception):
    """Error of an endpoint that the machine does not let open.

    Args:
        endpoint: the endpoint as it was written.
        reason: why, in words.
        service: the service that asked for it, if it is known.
    """

    def __init__(self, endpoint: str, reason: str, service: str = "") -> None:
        owner = f"service '{service}': " if service else ""
        super().__init__(f"{owner}cannot listen on {endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason
        self.service = service


def reasons(error: Exception) -> str:
    """Return the text of an error; of a group, one line for each error in it."""
    errors = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
    return "\n".join(str(each) for each in errors)


def in_words(error: BaseException) -> str:
    """Describe in one line what a plugin has raised, and where: `ValueError: no tape (plug.py, line 3)`."""
    try:
        text = printable(" ".join(str(error).split()))
    except Exception:  # a plugin's own exception may fail at that too
        text = ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{raised_at(error)}"


def raised_at(error: BaseException) -> str:
    """Return where a plugin has raised, as ` (FILE, line N)`; empty if it was not in a plugin."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        own = frame.filename.startswith(_OWN_FOLDER)
        if not own and "importlib" not in frame.filename and not frame.filename.endswith("pkgutil.py"):
            return f" ({frame.filename}, line {frame.lineno})"
    return ""
