"""Commands about the server: `MOTD`, `LUSERS`, `VERSION`, `TIME`, `ADMIN`, `INFO`; and the greeting."""

from __future__ import annotations

import time
from collections.abc import Mapping

from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.message import Message
from sockd_plugins.chat.irc.server import PROGRAM

_TOKENS = 12
"""Tokens in a line of 005: a line has at most 15 parameters."""

_USER_MODES = "i"


def greet(client: Client) -> None:
    """Tell a client that has registered where it is."""
    server = client.server
    source = client.form.source(client.me)
    client.numeric(numerics.WELCOME, text=f"Welcome to the {server.network} chat, {source}")
    client.numeric(numerics.YOUR_HOST, text=f"Your host is {server.name}, running {PROGRAM}")
    client.numeric(numerics.CREATED, text=f"This server was created {time.ctime(server.created)}")
    client.numeric(numerics.MY_INFO, server.name, PROGRAM, _USER_MODES, "".join(sorted(server.room_modes)))
    support(client)
    users(client)
    motd(client)


def support(client: Client) -> None:
    """Tell what the server supports."""
    tokens = client.server.supported
    for start in range(0, len(tokens), _TOKENS):
        client.numeric(numerics.SUPPORTED, *tokens[start : start + _TOKENS])


def users(client: Client, message: Message | None = None) -> None:  # noqa: ARG001  # an argument names a server
    """Tell how many people there are."""
    people, rooms = (
        len(client.hub.people),
        len(client.hub.rooms(client.person if client.is_present else None)),
    )
    client.numeric(numerics.USERS, text=f"There are {people} users and 0 invisible on 1 servers")
    client.numeric(numerics.ROOMS, str(rooms))
    client.numeric(numerics.CLIENTS, text=f"I have {people} clients and 0 servers")


def motd(client: Client, message: Message | None = None) -> None:  # noqa: ARG001  # as above
    """Send the message of the day."""
    if not client.server.motd:
        client.numeric(numerics.NO_MOTD, text="There is no message of the day")
        return
    client.numeric(numerics.MOTD_START, text=f"- {client.server.name} Message of the day -")
    for line in client.server.motd:
        client.numeric(numerics.MOTD, text=f"- {line}")
    client.numeric(numerics.MOTD_END)


def version(client: Client, message: Message) -> None:  # noqa: ARG001  # as above
    """Tell the program and its version, and what it supports."""
    client.numeric(numerics.VERSION, PROGRAM, client.server.name, text="")
    support(client)


def tell_time(client: Client, message: Message) -> None:  # noqa: ARG001  # as above
    """Tell the server's time."""
    client.numeric(numerics.TIME, client.server.name, text=time.strftime("%A %B %d %Y -- %H:%M:%S %z"))


def administration(client: Client, message: Message) -> None:  # noqa: ARG001  # as above
    """Tell that nobody is named: the daemon's configuration has no such person."""
    client.numeric(numerics.NO_ADMINISTRATION, client.server.name)


def info(client: Client, message: Message) -> None:  # noqa: ARG001  # as above
    """Tell about the program."""
    client.numeric(numerics.INFO, text=f"{PROGRAM}: a chat for terminals, IRC and browsers")
    client.numeric(numerics.INFO_END)


COMMANDS: Mapping[str, Command] = {
    "ADMIN": Command(administration),
    "INFO": Command(info),
    "LUSERS": Command(users),
    "MOTD": Command(motd),
    "TIME": Command(tell_time),
    "VERSION": Command(version),
}
