"""Command `MONITOR`: names that a client watches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.message import MAX_LINE, Message, repeated
from sockd_plugins.chat.irc.monitors import MAX_MONITORED
from sockd_plugins.chat.irc.numerics import Numeric
from sockd_plugins.chat.irc.text import wrapped

_LIST_SIZE = MAX_LINE - 150
"""Bytes of names in a line, beside the longest source and name of the reader."""


def monitor(client: Client, message: Message) -> None:
    """Watch names, and tell which of them are there."""
    monitors = client.server.monitors
    names = [name for name in ",".join(message.parameters[1:2]).split(",") if name]
    match message.parameters[0].upper():
        case "+":
            for place, name in enumerate(names):
                if not monitors.add(client, repeated(name)):
                    left = ",".join(map(repeated, names[place:]))
                    client.numeric(numerics.MONITOR_FULL, str(MAX_MONITORED), left)
                    names = names[:place]
                    break
            _tell_status(client, map(repeated, names))
        case "-":
            for name in names:
                monitors.remove(client, repeated(name))
        case "C":
            monitors.forget(client)
        case "L":
            _tell(client, numerics.MONITOR_LIST, monitors.of(client))
            client.numeric(numerics.MONITOR_LIST_END)
        case "S":
            _tell_status(client, monitors.of(client))


def _tell_status(client: Client, names: Iterable[str]) -> None:
    there: list[str] = []
    away: list[str] = []
    for name in names:
        person = client.hub.find(name)
        if person is None:
            away.append(name)
        else:
            there.append(client.form.source(person.name))
    _tell(client, numerics.MONITOR_ONLINE, there)
    _tell(client, numerics.MONITOR_OFFLINE, away)


def _tell(client: Client, numeric: Numeric, names: Iterable[str]) -> None:
    if words := list(names):
        for line in wrapped(words, _LIST_SIZE):
            client.numeric(numeric, text=line.replace(" ", ","))


COMMANDS: Mapping[str, Command] = {"MONITOR": Command(monitor, 1)}
