"""Command `SEARCH`: messages of a room by their words (soju.im/search)."""

from __future__ import annotations

from collections.abc import Mapping

from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.commands.history import limit_of
from sockd_plugins.chat.irc.message import Message, parsed_tags

_FOUND = 50
"""Messages that a search returns unless it asks for another number."""


async def search(client: Client, message: Message) -> None:
    """Send the messages of a room that have all words: `SEARCH in=#ops;text=pager;limit=10`."""
    wanted = parsed_tags(message.parameters[0])
    room = client.room(wanted.get("in", ""))
    limit = limit_of(wanted.get("limit", str(_FOUND)))
    if unknown := sorted(wanted.keys() - {"in", "text", "limit"}):
        client.fail("SEARCH", "INVALID_PARAMS", unknown[0], text="unknown: there are in, text and limit")
    elif room is None:
        client.fail("SEARCH", "INVALID_PARAMS", "in", text="a channel that you are in is needed: in=#ops")
    elif limit is None:
        client.fail("SEARCH", "INVALID_PARAMS", "limit", text="the limit is a number from 1 on")
    else:
        try:
            found = await client.hub.record.search(client.person, room.name, wanted.get("text", ""), limit)
        except ChatRefused as refused:
            code = "INVALID_PARAMS" if refused.code == "no_word" else "INTERNAL_ERROR"
            client.fail("SEARCH", code, "text", text=str(refused))
        else:
            client.send(*client.form.past(reversed(found), "soju.im/search"))


COMMANDS: Mapping[str, Command] = {"SEARCH": Command(search, 1)}
