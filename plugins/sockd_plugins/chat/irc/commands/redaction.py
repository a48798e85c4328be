"""Command `REDACT`: removal of the text of a message (draft/message-redaction)."""

from __future__ import annotations

from collections.abc import Mapping

from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.commands.history import number_of
from sockd_plugins.chat.irc.message import Message, repeated

_CODES = {"no_such_message": "UNKNOWN_MSGID", "not_operator": "REDACT_FORBIDDEN"}
"""Codes of standard replies for those of refusals."""


async def redact(client: Client, message: Message) -> None:
    """Remove the text of a message of a room, named by its `msgid`."""
    channel, name, *reason = message.parameters
    shown = repeated(channel), repeated(name)
    room = client.room(channel) if channel.startswith("#") else None
    if room is None:
        text = "only messages of channels that you are in can be removed"
        client.fail("REDACT", "INVALID_TARGET", shown[0], text=text)
        return
    number = number_of(name, room.name)
    if number is None:
        client.fail("REDACT", "UNKNOWN_MSGID", *shown, text=f"a message is {room.name}/17")
        return
    try:
        await client.hub.record.redact(client.person, room.name, number, "".join(reason[:1]))
    except ChatRefused as refused:
        if refused.code not in _CODES:
            raise
        client.fail("REDACT", _CODES[refused.code], *shown, text=str(refused))


COMMANDS: Mapping[str, Command] = {"REDACT": Command(redact, 2)}
