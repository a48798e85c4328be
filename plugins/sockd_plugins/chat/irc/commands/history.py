"""Command about past messages: `CHATHISTORY` (draft/chathistory).

A message is named by `msgid=ROOM/NUMBER` or by a time. Messages of a room are numbered without a gap, so a
client that has read `ops/1834` goes on with `CHATHISTORY AFTER #ops msgid=ops/1834 100`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sockd_plugins.chat.hub.events import Said
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.message import Message, repeated
from sockd_plugins.chat.irc.server import MAX_HISTORY
from sockd_plugins.chat.irc.text import parsed_timestamp

_LAST = 2**62
"""Number behind those of all messages."""

_LEAST = {"AFTER": 4, "AROUND": 4, "BEFORE": 4, "BETWEEN": 5, "LATEST": 4}
"""Parameters of each subcommand, itself included."""

_NUMBER = re.compile(r"[0-9]{1,15}")


class _Fault(Exception):
    """Fault of a request: the code of a standard reply, and the text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Place:
    """Place among the messages of a room: `before` and `behind` are the numbers around it."""

    before: int
    behind: int


async def chat_history(client: Client, message: Message) -> None:
    """Send past messages of a room."""
    subcommand, *words = message.parameters
    subcommand = subcommand.upper()
    channel = words[0] if words else "*"
    try:
        room, found = await _read(client, subcommand, words)
    except ChatRefused as refused:
        client.fail(
            "CHATHISTORY", "MESSAGE_ERROR", repeated(subcommand), repeated(channel), text=str(refused)
        )
    except _Fault as fault:
        client.fail("CHATHISTORY", fault.code, repeated(subcommand), repeated(channel), text=str(fault))
    else:
        client.send(*client.form.past(found, f"chathistory #{room}"))


async def _read(client: Client, subcommand: str, words: Sequence[str]) -> tuple[str, Sequence[Said]]:
    if subcommand not in _LEAST:
        raise _Fault("INVALID_PARAMS", f"unknown: there are {', '.join(_LEAST)}")
    if len(words) + 1 < _LEAST[subcommand]:
        raise _Fault("NEED_MORE_PARAMS", "a channel, a message and a limit are needed")
    room = client.room(words[0]) if words[0].startswith("#") else None
    if room is None:
        raise _Fault("INVALID_TARGET", "there are messages of the channels that you are in, no others")
    limit = limit_of(words[_LEAST[subcommand] - 2])
    if limit is None:
        raise _Fault("INVALID_PARAMS", "the limit is a number from 1 on")
    places = [await _place(client, room.name, word) for word in words[1 : _LEAST[subcommand] - 2]]
    return room.name, await _select(client, subcommand, room.name, places, limit)


async def _select(
    client: Client, subcommand: str, room: str, places: Sequence[_Place], limit: int
) -> Sequence[Said]:
    hub, person, place = client.hub, client.person, places[0]
    if subcommand == "BEFORE":
        return await hub.before(person, room, place.behind, limit)
    if subcommand == "AFTER":
        return await hub.since(person, room, place.before, limit)
    if subcommand == "AROUND":
        earlier = await hub.before(person, room, place.behind, limit // 2)
        return [*earlier, *await hub.since(person, room, place.behind - 1, limit - len(earlier))]
    if subcommand == "LATEST":
        return [said for said in await hub.before(person, room, _LAST, limit) if said.number > place.before]
    other = places[1]
    if place.before <= other.before:
        return [
            said for said in await hub.since(person, room, place.before, limit) if said.number < other.behind
        ]
    return [
        said for said in await hub.before(person, room, place.behind, limit) if said.number > other.before
    ]


async def _place(client: Client, room: str, word: str) -> _Place:
    kind, _, value = word.partition("=")
    if word == "*":
        return _Place(0, 1)
    if kind == "msgid":
        if (number := number_of(value, room)) is not None:
            return _Place(number, number)
    elif kind == "timestamp" and (at := parsed_timestamp(value)) is not None:
        earlier, later = await client.hub.place(client.person, room, at)
        return _Place(later - 1, earlier + 1)
    raise _Fault("INVALID_PARAMS", f"a message is msgid={room}/17 or timestamp=2026-11-28T13:05:00.000Z")


def number_of(name: str, room: str) -> int | None:
    """Return the number of a message of a room, whose name is `ROOM/NUMBER`; None if that is none."""
    place, _, number = name.rpartition("/")
    return int(number) if fold(place) == fold(room) and _NUMBER.fullmatch(number) else None


def limit_of(word: str) -> int | None:
    """Return how many messages are wanted, `MAX_HISTORY` at most; None if that is no number from 1 on."""
    return min(int(word), MAX_HISTORY) if _NUMBER.fullmatch(word) and int(word) else None


COMMANDS: Mapping[str, Command] = {"CHATHISTORY": Command(chat_history, 1)}
