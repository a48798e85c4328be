"""Renders events as lines: for a person at a terminal, or as JSON for a program.

Whatever a peer or a plugin put into an event, one event is one line and holds no control character.
Only on a terminal a failure is followed by its traceback, for whoever writes the plugin.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, cast

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import provider

from sockd.text import printable

FILE_MODE = 0o640
"""Of log files: peers' addresses are nobody else's business."""

_LEVELS = {name: LogLevel.lookupByName(name) for name in ("debug", "info", "warn", "error")}
_COLORS = {"debug": "2", "info": "32", "warn": "33", "error": "31", "critical": "31;1"}


def observer(stream: TextIO, log_format: str, level: str) -> ILogObserver:
    """An observer that writes events of `level` and above to `stream`.

    Args:
        stream: a text stream; each line is flushed.
        log_format: `console`, `json`, or `auto`: console if the stream is a terminal.
        level: `debug`, `info`, `warn` or `error`.
    """
    terminal = stream.isatty()
    if log_format == "console" or (log_format == "auto" and terminal):
        render = _console(colored=terminal and "NO_COLOR" not in os.environ)
    else:
        render = _json_line
    write = FileLogObserver(stream, render)
    lowest = _LEVELS[level]

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if _level(event) >= lowest:
            write(event)

    return cast("ILogObserver", observe)


def open_file(path: Path) -> TextIO:
    """Open a log file for appending, with its permissions right from the first moment."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, FILE_MODE)

    return open(path, "a", encoding="utf-8", errors="backslashreplace", opener=opener)


def _level(event: LogEvent) -> Any:
    """The event's level; Twisted's own chatter about ports and factories counts as debug."""
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
    """Whether it is one of `events`: its format is a name, its keys are its fields."""
    return str(event.get("log_namespace", "")).startswith("sockd") and "{" not in (
        event.get("log_format") or "{"
    )


def _fields(event: LogEvent) -> Iterator[tuple[str, Any]]:
    """The event's fields without those that twisted.logger adds."""
    if _ours(event):
        for key, value in event.items():
            if not key.startswith("log_"):
                yield key, value
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        yield "error", f"{type(failure.value).__name__}: {failure.getErrorMessage()}"


def _source(event: LogEvent) -> str:
    """The service that tells it, nothing for the daemon itself, or the module of somebody else's event."""
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
        time = datetime.fromtimestamp(event["log_time"]).strftime("%H:%M:%S")  # as on the wall
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
    text = printable(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text
