"""Commands that speak: `PRIVMSG`, `NOTICE`, `AWAY`.

A text that is longer than a message of the chat is sent as several. Formatting is left out: people on
terminals and pages read the same words. Of messages between client programs (CTCP) only actions are sent on:
others ask a program for its address or its version. A `NOTICE` is never answered (RFC 2812, 3.3.2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from functools import partial

from sockd.text import printable
from sockd_plugins.chat.hub.events import Kind
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc import capabilities as cap
from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.client import Client, Spoken
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.message import Message, repeated
from sockd_plugins.chat.irc.numerics import Numeric
from sockd_plugins.chat.irc.server import MAX_TARGETS
from sockd_plugins.chat.irc.text import ctcp, pieces, unformatted

MOST_LABELS = 100
"""Labels of messages that wait to be stored; those of further ones are answered at once."""


def speak(client: Client, message: Message, *, kind: Kind) -> Awaitable[None] | None:
    """Send a text to rooms and people."""
    answers = kind != "notice"
    targets, text = _said(message)
    if not targets or not text:
        if answers:
            client.numeric(numerics.NO_TEXT if targets else numerics.NO_RECIPIENT)
        return None
    if len(targets) > MAX_TARGETS:
        if answers:
            client.numeric(numerics.TOO_MANY_TARGETS, repeated(targets[0]))
        return None
    if (program := ctcp(text)) is not None:
        command, text = program
        if command != "ACTION":
            for target in targets if answers else ():
                client.numeric(
                    _refusal(target), repeated(target), text=f"CTCP {repeated(command)} is not sent on"
                )
            return None
        kind = "action" if answers else kind
    parts = pieces(unformatted(text), client.server.rules.message_length)
    if len(parts) == len(targets) == 1:
        _speak(client, targets[0], parts[0], kind, answers)
        return None
    return _speak_all(client, targets, parts, kind, answers)


def away(client: Client, message: Message) -> None:
    """Tell others that the client is away, with a text; without one, that it is back."""
    text = " ".join(message.parameters[:1])
    client.hub.set_away(client.person, text)
    client.numeric(numerics.NOW_AWAY if client.person.away else numerics.NO_LONGER_AWAY)


def tags(client: Client, message: Message) -> None:
    """Take tags without a text and send them to nobody: numeric 005 says so (CLIENTTAGDENY)."""


async def _speak_all(
    client: Client, targets: Sequence[str], parts: Sequence[str], kind: Kind, answers: bool
) -> None:
    for target in targets:
        for part in parts:
            if not _speak(client, target, part, kind, answers):
                break
            await client.turn()


def _speak(client: Client, target: str, text: str, kind: Kind, answers: bool) -> bool:
    """Send a text to one target; tell whether that worked."""
    try:
        if target.startswith("#"):
            client.hub.say(client.person, target[1:], text, kind)
            _await_echo(client, target[1:], text)
        else:
            told = client.hub.tell(client.person, target, text, kind)
            if client.can(cap.ECHO_MESSAGE):
                client.send(*client.form.message(told))
            if answers and (reader := client.hub.find(target)) is not None and reader.away:
                client.numeric(numerics.AWAY, told.to, text=reader.away)
    except ChatRefused as refused:
        if answers:
            known = refused.code in ("no_such_name", "no_text")
            client.refuse(refused, target, by=None if known else _refusal(target))
        return False
    return True


def _await_echo(client: Client, room: str, text: str) -> None:
    """Keep the label of a message that comes back to its speaker once it is stored."""
    if client.label and client.can(cap.ECHO_MESSAGE) and len(client.spoken) < MOST_LABELS:
        client.spoken.append(Spoken(fold(room), printable(text), client.label))
        client.label = ""


def _said(message: Message) -> tuple[list[str], str]:
    targets = message.parameters[0].split(",") if message.parameters else []
    return [target for target in targets if target], " ".join(message.parameters[1:2])


def _refusal(target: str) -> Numeric:
    return numerics.CANNOT_SAY if target.startswith("#") else numerics.CANNOT_TELL


COMMANDS: Mapping[str, Command] = {
    "AWAY": Command(away),
    "NOTICE": Command(partial(speak, kind="notice")),
    "PRIVMSG": Command(partial(speak, kind="said")),
    "TAGMSG": Command(tags),
}
