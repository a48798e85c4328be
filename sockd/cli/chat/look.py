"""Look of a conversation on a screen: times, colours of names, and lines of each kind."""

from __future__ import annotations

import re
import time
import zlib
from datetime import datetime

from prompt_toolkit.styles import Style

from sockd.cli.chat.pane import Entry
from sockd.cli.chat.wire import Private, Said

COLOURS = (
    *("ansired", "ansigreen", "ansiyellow", "ansiblue", "ansimagenta", "ansicyan"),
    *("ansibrightred", "ansibrightgreen", "ansibrightblue", "ansibrightmagenta", "ansibrightcyan"),
)
"""Colours of names, which every terminal's own theme makes readable."""

STYLE = Style.from_dict(
    {
        "bar": "reverse",
        "away": "reverse bold",
        "time": "ansibrightblack",
        "note": "ansibrightblack",
        "refused": "ansired",
        "own": "bold",
        "mention": "bold ansiyellow",
        "pending": "ansibrightblack italic",
        "private": "bold ansimagenta",
    }
)

_INDENT = 6
"""Columns of a time and the space behind it."""


class Look:
    """Makes entries of what is said; a new day gets a line of its own."""

    def __init__(self) -> None:
        self._day = time.strftime("%Y-%m-%d")

    def days(self, at: float | None) -> list[Entry]:
        """Return the line of a new day, if a message is the first of it."""
        moment = datetime.fromtimestamp(at) if at is not None else datetime.now()
        day = moment.strftime("%Y-%m-%d")
        if day == self._day:
            return []
        self._day = day
        return [Entry((), f"-- {moment:%A, %d %B %Y} --", "class:note")]


def of_message(said: Said, room: str, own: str, *, is_own: bool) -> Entry:
    """Return a message of the room as an entry; `own` is the reader's name."""
    style = "class:own" if is_own else "class:mention" if mentions(said.text, own) else ""
    name = ("class:own" if is_own else colour(said.name), said.name)
    if said.kind == "action":
        who: tuple[tuple[str, str], ...] = (("", "* "), name, ("", " "))
    elif said.kind == "notice":
        who = (("", "-"), name, ("", "- "))
    else:
        who = (("", "<"), name, ("", "> "))
    text = "" if is_own else style
    return Entry((clock(said.at), *who), said.text, text, _INDENT, said.number, room.lower())


def of_private(private: Private) -> Entry:
    """Return a private message as an entry."""
    who = ("class:private", f"[{private.name} -> {private.to}] ")
    return Entry((clock(private.at), who), private.text, "", _INDENT)


def of_note(text: str, style: str = "class:note") -> Entry:
    """Return a line from the server, or about the connection, as an entry."""
    return Entry((clock(None), (style, "-- ")), text, style, _INDENT)


def of_pending(text: str) -> Entry:
    """Return a message that is not stored yet as an entry."""
    return Entry((("class:pending", "  ... "),), text, "class:pending", _INDENT)


def clock(at: float | None) -> tuple[str, str]:
    """Return the time of day, of now if there is none."""
    return "class:time", time.strftime("%H:%M ", time.localtime(at))


def colour(name: str) -> str:
    """Return the colour of a name, always the same one."""
    return COLOURS[zlib.crc32(name.lower().encode()) % len(COLOURS)]


def mentions(text: str, name: str) -> bool:
    """Tell whether a text has a name in it as a word."""
    return (
        bool(name) and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE) is not None
    )
