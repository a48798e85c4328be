"""Lines of the plugin `chat`, as `/numbers on` has them, read by the client.

    17 2026-11-28T13:05:22.123Z <ann> hello       message 17 of the room
    18 2026-11-28T13:05:23.000Z ** ann waves      the same, an action
    19 2026-11-28T13:05:24.000Z -bot- done        the same, written by a program
    - 2026-11-28T13:05:25.000Z [ann -> you] psst  private message
    - 2026-11-28T13:05:26.000Z [you -> ann] yes   one's own, with `/echo on`
    ! taken the name ann is taken                 refusal, with its code
    * ann joined lobby                            any other line

Without `/numbers on` number, time and code are missing; such lines are read too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Kind = Literal["said", "action", "notice"]

MOST_BYTES = 65_536
"""Bytes of a line; the longest ones of a server list names."""

_HEAD = re.compile(r"(\d{1,15}|-) (\d{4}-\d\d-\d\dT[\d:.]{8,15}Z) ")
_SAID = re.compile(r"<([^\s>]+)> (.*)")
_ACTION = re.compile(r"\*\* (\S+) (.*)")
_NOTICE = re.compile(r"-(\S+)- (.*)")
_PRIVATE = re.compile(r"\[(\S+) -> ([^\s\]]+)\] (.*)")
_REFUSED = re.compile(r"! ([a-z_]{1,32})(?: (.*))?")
_ENTERED = re.compile(r"you are (\S+) in ([^\s,;]+)(?:, (?:alone|with ([^;]*)))?(?:; answer /here (\w+) .*)?")
_WHO = re.compile(r"in (\S+): (.*)")
_MORE = re.compile(r" and \d+ more$")
_JOINED = re.compile(r"(\S+) joined (\S+)")
_LEFT = re.compile(r"(\S+) left(?: [^\s(]\S*)?(?: \(.*\))?")
_RENAMED = re.compile(r"(\S+) is now (\S+)")
_REMOVED = re.compile(r"\S+ removed (\S+) from \S+(?: \(.*\))?")
_REDACTED = re.compile(r".+ removed message (\d{1,15}) of (\S+)(?: \(.*\))?")
_SKIPPED = re.compile(r"\d{1,15} (?:skipped|not shown)(?:; answer /here (\w+) )?.*")
_PONG = re.compile(r"pong (\d{1,15})(?: (\S+) (\d{1,15}))?")
_OUTSIDE = "you are not in the chat"
_SWITCHED = ("numbers are on", "echo is on", "the key is set", "you are shown all now")
_ROOM = re.compile(r"room (\S+): .*")
_TOPIC = re.compile(r"(?:the topic of (\S+) is|(?:\S+) set the topic of (\S+) to): (.*)")
_NO_TOPIC = re.compile(r"(?:\S+) removed the topic of (\S+)")


@dataclass(frozen=True, slots=True)
class Said:
    """Message in the room; the number is 0 and the time None where the line has none."""

    name: str
    text: str
    kind: Kind = "said"
    number: int = 0
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Private:
    """Private message; `you` stands for the person itself."""

    name: str
    to: str
    text: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Refusal of what the person asked for."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Line from the server itself."""

    text: str


Line = Said | Private | Refused | Notice


@dataclass(frozen=True, slots=True)
class Entered:
    """Entry of the person itself; the code is that of `/here`, which UDP has."""

    name: str
    room: str
    others: tuple[str, ...]
    code: str


@dataclass(frozen=True, slots=True)
class Present:
    """Names in a room, perhaps not all of them."""

    room: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Switched:
    """Answer to what the client says by itself."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Entry of another person."""

    name: str


@dataclass(frozen=True, slots=True)
class Left:
    """Exit of another person."""

    name: str


@dataclass(frozen=True, slots=True)
class Removed:
    """Removal of a person from the room by an operator, perhaps of oneself."""

    name: str


@dataclass(frozen=True, slots=True)
class Redacted:
    """Removal of the text of a message."""

    room: str
    number: int


@dataclass(frozen=True, slots=True)
class Renamed:
    """New name of a person, perhaps of oneself."""

    name: str
    new_name: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Messages that were not shown; the code is that of `/here`, if an address has to prove itself."""

    code: str


@dataclass(frozen=True, slots=True)
class Outside:
    """Answer to an address that is not in the chat, or not any more."""


@dataclass(frozen=True, slots=True)
class Pong:
    """Answer to `/ping`: all lines before it have been answered.

    Attributes:
        token: number that was sent.
        room: room of the person; "" before there is one.
        last: number of the last message there.
    """

    token: int
    room: str
    last: int


@dataclass(frozen=True, slots=True)
class Room:
    """Room that exists."""

    name: str


@dataclass(frozen=True, slots=True)
class Topic:
    """Topic of a room; "" if it has none."""

    room: str
    text: str


Meaning = (
    Entered
    | Outside
    | Present
    | Joined
    | Left
    | Redacted
    | Removed
    | Renamed
    | Skipped
    | Switched
    | Pong
    | Room
    | Topic
)


def read(line: str) -> Line:
    """Read a line of the server, which is printable already."""
    head = _HEAD.match(line)
    number, at = 0, None
    rest = line
    if head:
        at = _seconds(head[2])
        number = 0 if head[1] == "-" else int(head[1])
        rest = line[head.end() :]
    if found := _SAID.fullmatch(rest):
        return Said(found[1], found[2], "said", number, at)
    if found := _ACTION.fullmatch(rest):
        return Said(found[1], found[2], "action", number, at)
    if found := _NOTICE.fullmatch(rest):
        return Said(found[1], found[2], "notice", number, at)
    if found := _PRIVATE.fullmatch(rest):
        return Private(found[1], found[2], found[3], at)
    if found := _REFUSED.fullmatch(rest):
        return Refused(found[1], found[2] or "")
    return Notice(line.removeprefix("* "))


def meaning(notice: str) -> Meaning | None:
    """Return what a line of the server tells a program; None if it is for people alone."""
    if found := _ENTERED.fullmatch(notice):
        return Entered(found[1], found[2], _names(found[3] or ""), found[4] or "")
    if found := _PONG.fullmatch(notice):
        return Pong(int(found[1]), found[2] or "", int(found[3] or 0))
    if notice.startswith(_OUTSIDE):
        return Outside()
    if notice in _SWITCHED:
        return Switched()
    if found := _JOINED.fullmatch(notice):
        return Joined(found[1])
    if found := _LEFT.fullmatch(notice):
        return Left(found[1])
    if found := _REDACTED.fullmatch(notice):
        return Redacted(found[2], int(found[1]))
    if found := _REMOVED.fullmatch(notice):
        return Removed(found[1])
    if found := _RENAMED.fullmatch(notice):
        return Renamed(found[1], found[2])
    if found := _SKIPPED.fullmatch(notice):
        return Skipped(found[1] or "")
    if found := _WHO.fullmatch(notice):
        return Present(found[1], _names(found[2]))
    if found := _ROOM.fullmatch(notice):
        return Room(found[1])
    if found := _TOPIC.fullmatch(notice):
        return Topic(found[1] or found[2], found[3])
    if found := _NO_TOPIC.fullmatch(notice):
        return Topic(found[1], "")
    return None


def _names(listed: str) -> tuple[str, ...]:
    return tuple(filter(None, _MORE.sub("", listed).split(", ")))


def _seconds(text: str) -> float | None:
    """Return a time in seconds since 1970; None if it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
