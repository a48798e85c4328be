"""Messages that were said before, by their numbers or by words in them; the list of rooms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sockd_plugins.chat.history.words import NoWord
from sockd_plugins.chat.hub.events import Said
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.reading import unread
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.web.commands import MOST_FOUND, MOST_MESSAGES, Command

Find = Callable[[str, str, int, int | None], Awaitable[Sequence[Said]]]
"""Returns the last messages with words: text, room, messages at most, number that theirs are below."""

LookUp = Callable[[Hub, Find | None, Person, Command], Awaitable[Sequence[Said]]]
"""Returns the messages that a command of a person asks for."""


async def since(hub: Hub, _: Find | None, person: Person, command: Command) -> Sequence[Said]:
    """Return the first messages behind a number."""
    room, number = command.word("room"), command.number("number")
    return await hub.since(person, room, number, _limit(command, MOST_MESSAGES))


async def before(hub: Hub, _: Find | None, person: Person, command: Command) -> Sequence[Said]:
    """Return the last messages before a number."""
    room, number = command.word("room"), command.number("number")
    return await hub.before(person, room, number, _limit(command, MOST_MESSAGES))


async def search(hub: Hub, find: Find | None, person: Person, command: Command) -> Sequence[Said]:
    """Return the last messages of a room with all words of a text, the oldest first.

    Args:
        hub: the chat.
        find: searches the history; None if there is none.
        person: who is in the room, and sees no more of it than it may read.
        command: with the room, the words, and perhaps the number that those of the messages are below.
    """
    name, text = command.word("room"), command.word("words")
    limit, below = _limit(command, MOST_FOUND), command.optional_number("before")
    hub.present(person, name)  # counts the request, and refuses who is not in the room
    if find is None:
        raise ChatRefused("unavailable", "there is no history to search in")
    room = person.rooms[fold(name)]
    try:
        found = await find(text, room.name, limit, below)
    except NoWord as error:
        raise ChatRefused("no_text", str(error)) from error
    except OSError:
        raise ChatRefused("unavailable", "the history cannot be searched now") from None
    if person.gone or person not in room.members:
        return ()
    first = unread(person, room) + 1
    return [said for said in reversed(found) if said.number >= first]


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


LOOKUPS: Mapping[str, LookUp] = {"since": since, "before": before, "search": search}
"""Look-ups by the `type` of their commands."""
