"""Messages that were said before, by their numbers or by words in them; the list of rooms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sockd_plugins.chat.hub.events import Said
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.web.commands import MOST_FOUND, MOST_MESSAGES, Command

LookUp = Callable[[Hub, Person, Command], Awaitable[Sequence[Said] | None]]
"""Returns the messages that a command of a person asks for; None if events are its answer."""


async def since(hub: Hub, person: Person, command: Command) -> Sequence[Said]:
    """Return the first messages behind a number."""
    room, number = command.word("room"), command.number("number")
    return await hub.since(person, room, number, _limit(command, MOST_MESSAGES))


async def before(hub: Hub, person: Person, command: Command) -> Sequence[Said]:
    """Return the last messages before a number."""
    room, number = command.word("room"), command.number("number")
    return await hub.before(person, room, number, _limit(command, MOST_MESSAGES))


async def search(hub: Hub, person: Person, command: Command) -> Sequence[Said]:
    """Return the last messages of a room with all words of a text, the oldest first."""
    name, words = command.word("room"), command.word("words")
    limit, below = _limit(command, MOST_FOUND), command.optional_number("before")
    found = await hub.record.search(person, name, words, limit, below)
    return found[::-1]


async def redact(hub: Hub, person: Person, command: Command) -> None:
    """Remove the text of a message for good."""
    room, number = command.word("room"), command.number("number")
    await hub.record.redact(person, room, number, command.word("reason", ""))


def list_rooms(hub: Hub, person: Person | None = None) -> list[dict[str, Any]]:
    """Return the facts of each room for JSON, as far as a person, or somebody outside, may know of it."""
    return [
        {
            "name": facts.name,
            "people": facts.people,
            "said": facts.said,
            "topic": facts.topic.text if facts.topic else "",
        }
        for facts in hub.rooms(person)
    ]


def _limit(command: Command, most: int) -> int:
    return max(command.number("limit", most, most), 1)


LOOKUPS: Mapping[str, LookUp] = {"since": since, "before": before, "search": search, "redact": redact}
"""Look-ups by the `type` of their commands."""
