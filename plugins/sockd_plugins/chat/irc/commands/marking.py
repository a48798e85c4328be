"""Command `MARKREAD`: how far a person has read, on all of its devices (draft/read-marker)."""

from __future__ import annotations

from collections.abc import Mapping

from sockd_plugins.chat.irc import capabilities as cap
from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.message import Message, repeated
from sockd_plugins.chat.irc.text import parsed_timestamp


def mark_read(client: Client, message: Message) -> None:
    """Tell or move the mark of a room or a person."""
    if not message.parameters:
        client.fail("MARKREAD", "NEED_MORE_PARAMS", text="a channel or a name is needed")
        return
    target = repeated(message.parameters[0])
    if len(message.parameters) == 1:
        client.send(client.mark(target))
        return
    kind, _, value = message.parameters[1].partition("=")
    at = parsed_timestamp(value) if kind == "timestamp" else None
    if at is None or (target.startswith("#") and client.room(target) is None):
        text = "a channel that you are in or a name, and timestamp=2026-11-28T13:05:00.000Z, are needed"
        client.fail("MARKREAD", "INVALID_PARAMS", target, text=text)
        return
    markers = client.server.markers
    markers.move(client, client.account, target, at)
    client.send(client.mark(target))
    for other in markers.clients(client, client.account):
        if other is not client and other.can(cap.READ_MARKER):
            other.tell(other.mark(target))


COMMANDS: Mapping[str, Command] = {"MARKREAD": Command(mark_read)}
