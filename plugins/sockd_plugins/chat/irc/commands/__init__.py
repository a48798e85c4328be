"""Commands of IRC, one module for each group, and the table of all."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc import capabilities as cap
from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.commands import (
    history,
    marking,
    modes,
    monitoring,
    people,
    redaction,
    registration,
    rooms,
    searching,
    server,
    talk,
)
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.message import Message, repeated

COMMANDS: Mapping[str, Command] = {
    **history.COMMANDS,
    **marking.COMMANDS,
    **modes.COMMANDS,
    **monitoring.COMMANDS,
    **people.COMMANDS,
    **redaction.COMMANDS,
    **registration.COMMANDS,
    **rooms.COMMANDS,
    **searching.COMMANDS,
    **server.COMMANDS,
    **talk.COMMANDS,
}

MAX_LABEL = 64
"""Bytes of a label (specification of labeled-response)."""


def execute(client: Client, message: Message) -> Awaitable[None] | None:
    """Answer a message of a client; with something to await if the answer takes time."""
    if client.can(cap.LABELED_RESPONSE) and message.tags:
        client.label = message.tags.get("label", "")[:MAX_LABEL]
    command = COMMANDS.get(message.command)
    if not client.is_present and (command is None or not command.early):
        client.numeric(numerics.NOT_REGISTERED)
    elif command is None:
        client.numeric(numerics.UNKNOWN_COMMAND, repeated(message.command))
    elif len(message.parameters) < command.least or not all(message.parameters[: command.least]):
        client.numeric(numerics.MORE_PARAMETERS, message.command)
    else:
        try:
            return command.run(client, message)
        except ChatRefused as refused:
            client.refuse(refused, message.command)
    return None
