"""Rendering of events as lines: for a person at a terminal, or as JSON for a program.

One event is one line without control characters, whatever text of a peer or a plugin it holds. On a terminal
the traceback follows a failure on lines of its own, for the author of the plugin.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.telemetry.catalogue import Event
from sockd.telemetry.sink import EXIT_TIMEOUT, Sink, open_path
from sockd.text import printable

OWN_TIMEOUT = 0.1
"""Seconds that the daemon waits until its own events are written, such as `stopping`. A plugin may then keep
the interpreter for ever, and no other thread could write them."""

_LEVELS = {name: LogLevel.lookupByName(name) for name in ("debug", "info", "warn", "error")}
_AMBIGUOUS = re.compile('[ ="]')
"""Characters that make a value ambiguous in the console log; the value is quoted."""
_COLORS = {"debug": "2", "info": "32", "warn": "33", "error": "31", "critical": "31;1"}


@implementer(ILogObserver)
class Log:
    """Observer that writes events of a level and above to a stream, from any thread.

    Args:
        stream: destination of the lines.
        render: returns the line of an event.
        level: `debug`, `info`, `warn` or `error`.
    """

    def __init__(self, stream: TextIO | Sink, render: Callable[[LogEvent], str], level: str) -> None:
        self._stream = stream
        self._sink = stream if isinstance(stream, Sink) else None
        self._render = render
        self.set_level(level)

    def __call__(self, event: LogEvent) -> None:
        """Write an event of the level or above."""
        if _level(event) >= self._lowest:
            self._stream.write(self._render(event))
            if self._sink and event.get("log_namespace") == "sockd":
                self._sink.flush(OWN_TIMEOUT)

    @property
    def dropped(self) -> int:
        """Number of lines that found no room."""
        return self._sink.dropped if self._sink else 0

    def set_level(self, level: str) -> None:
        """Write events of this level and above from now on."""
        self._lowest = _LEVELS[level]

    def reopen(self) -> None:
        """Open the log file again after it was renamed."""
        if self._sink:
            self._sink.reopen()

    def flush(self) -> None:
        """Write the waiting lines, within a second."""
        if self._sink:
            self._sink.flush(EXIT_TIMEOUT)

    def close(self) -> None:
        """Write the waiting lines within a second, at the end of the process."""
        if self._sink:
            self._sink.close()


def observer(stream: TextIO | Sink, log_format: str, level: str) -> Log:
    """Return an observer that writes events of `level` and above to `stream`.

    Args:
        stream: result of `open_file`, or a text stream; a stream with a descriptor gets a sink.
        log_format: `console`, `json`, or `auto`: console if the stream is a terminal.
        level: `debug`, `info`, `warn` or `error`.
    """
    if isinstance(stream, TextIOWrapper):
        stream = Sink(partial(os.dup, stream.fileno()))
    terminal = stream.isatty()
    render: Callable[[LogEvent], str] = _json_line
    if log_format == "console" or (log_format == "auto" and terminal):
        render = _console(colored=terminal and "NO_COLOR" not in os.environ)
    if isinstance(stream, Sink):
        stream.announce = partial(_announced, render)
    return Log(stream, render, level)


def open_file(path: Path) -> Sink:
    """Open a log file for appending.

    Raises:
        OSError: the path cannot be opened.
    """
    return Sink(partial(open_path, path))


def _announced(render: Callable[[LogEvent], str], event: Event, fields: Mapping[str, object]) -> str:
    """Return the line of an event of the sink itself."""
    own = {"log_time": time.time(), "log_level": event.level, "log_namespace": "sockd"}
    return render({"log_format": event.name, **own, **fields})


def _level(event: LogEvent) -> Any:
    """Return the level of an event; Twisted's own messages about ports and factories count as debug."""
    level = event.get("log_level", LogLevel.info)
    namespace = str(event.get("log_namespace", ""))
    chatter = namespace.startswith("twisted.") or (
        namespace == "log_legacy" and event.get("log_system", "-") == "-"
    )
    return LogLevel.debug if chatter and level == LogLevel.info else level


def _message(event: LogEvent) -> str:
    if _ours(event):
        return str(event.get("log_format", ""))
    return formatEvent(event)


def _ours(event: LogEvent) -> bool:
    """Return whether the event is of sockd or a plugin: its format is a name, its keys are fields."""
    return str(event.get("log_namespace", "")).startswith("sockd") and "{" not in (
        event.get("log_format") or "{"
    )


def _fields(event: LogEvent) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an event without those that twisted.logger adds."""
    if _ours(event):
        for key, value in event.items():
            if not key.startswith("log_"):
                yield key, value
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        yield "error", f"{type(failure.value).__name__}: {failure.getErrorMessage()}"


def _source(event: LogEvent) -> str:
    """Return the name of the service, nothing for the daemon itself, or the module of a foreign event."""
    namespace = str(event.get("log_namespace", ""))
    return namespace.removeprefix("sockd").removeprefix(".") if namespace.startswith("sockd") else namespace


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if isinstance(failure, Failure) else ""


def _json_line(event: LogEvent) -> str:
    record: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": _level(event).name,
    }
    if source := _source(event):
        record["service" if _ours(event) else "logger"] = source
    record["event" if _ours(event) else "message"] = _message(event)
    record |= _fields(event)
    if traceback := _traceback(event):
        record["traceback"] = traceback
    # json escapes control characters; U+2028 and bidirectional controls need ASCII to be harmless.
    return json.dumps(record, ensure_ascii=True, default=str) + "\n"


def _console(*, colored: bool) -> Callable[[LogEvent], str]:
    def paint(text: str, color: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if colored else text

    def line(event: LogEvent) -> str:
        time = datetime.fromtimestamp(event["log_time"]).strftime("%H:%M:%S")  # local time
        level = _level(event).name
        fields = (f"{key}={_shown(value)}" for key, value in _fields(event))
        words = [
            paint(time, "2"),
            paint(f"{level:<5}", _COLORS[level]),
            paint(f"{printable(_source(event)) or 'sockd':<8}", "1"),
            printable(_message(event)),
            *fields,
        ]
        below = "".join(f"    {printable(row)}\n" for row in _traceback(event).splitlines())
        return " ".join(words) + "\n" + below

    return line


def _shown(value: object) -> str:
    """Return the value of a field as text, in quotes where it could pass for several fields."""
    text = printable(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or _AMBIGUOUS.search(text) else text
