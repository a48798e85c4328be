"""Commands of the connection: `CAP`, `PASS`, `NICK`, `USER`, `AUTHENTICATE`, `QUIT`, `PING`, `PONG`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from sockd_plugins.chat.hub.events import Renamed
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc import capabilities as cap
from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.client import Client, Ending, shown
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.commands.server import greet
from sockd_plugins.chat.irc.message import MAX_LINE, Message, repeated
from sockd_plugins.chat.irc.text import wrapped
from sockd_plugins.users.tries import NotTried

NAME_TRIES = 10
"""Names in a row that a client may try in vain: some try without end and without a pause."""

_CHUNK = 400
"""Characters of Base64 in a whole line of `AUTHENTICATE`; a shorter one is the last."""

MAX_CREDENTIALS = 1200
"""Characters of Base64 in all: three names and a password are far shorter."""

_MECHANISM = "PLAIN"


async def nick(client: Client, message: Message) -> None:
    """Take a name, or another one."""
    name = message.parameters[0] if message.parameters else ""
    if not name:
        client.numeric(numerics.NO_NICK)
    elif client.is_present:
        _rename(client, name)
    else:
        await _choose(client, name)


async def user(client: Client, message: Message) -> None:
    """Take the name of the user; the real name of a person is not shown, as terminals have none."""
    if client.is_present:
        client.numeric(numerics.ALREADY_REGISTERED)
    else:
        client.registration.user = message.parameters[0]
        await _register(client)


def password(client: Client, message: Message) -> None:
    """Take the password of an account, for clients that know no SASL: `PASSWORD` or `ACCOUNT:PASSWORD`.

    The account is the one with the client's name if none is given. Without accounts nobody needs a password.
    """
    if client.is_present:
        client.numeric(numerics.ALREADY_REGISTERED)
    else:
        client.registration.password = message.parameters[0]


async def capability(client: Client, message: Message) -> None:
    """Negotiate capabilities."""
    subcommand, wanted = message.parameters[0].upper(), " ".join(message.parameters[1:])
    if subcommand in ("LS", "REQ") and not client.is_present:
        client.registration.negotiates = True
    match subcommand:
        case "LS":
            if wanted.isascii() and wanted.isdigit() and len(wanted) < 6:
                client.cap_version = max(client.cap_version, int(wanted))
            _list_capabilities(client, "LS", _offered(client))
        case "LIST":
            _list_capabilities(client, "LIST", sorted(client.capabilities))
        case "REQ":
            _request(client, wanted)
        case "END":
            client.registration.negotiates = False
            await _register(client)
        case _:
            client.numeric(numerics.BAD_CAP_COMMAND, repeated(subcommand))


async def authenticate(client: Client, message: Message) -> None:
    """Log in by SASL (RFC 4422), of whose mechanisms there is PLAIN (RFC 4616)."""
    word, registration = message.parameters[0], client.registration
    if client.account:
        client.numeric(numerics.LOGIN_ALREADY)
    elif client.is_present or client.server.accounts is None or not client.can(cap.SASL):
        client.numeric(numerics.LOGIN_FAILED)
    elif word == "*":
        registration.mechanism = registration.credentials = ""
        client.numeric(numerics.LOGIN_ABORTED)
    elif not registration.mechanism:
        if word.upper() == _MECHANISM:
            registration.mechanism = _MECHANISM
            client.send("AUTHENTICATE +")
        else:
            client.numeric(numerics.LOGIN_MECHANISMS, _MECHANISM)
            client.numeric(numerics.LOGIN_FAILED)
    elif len(word) > _CHUNK or len(registration.credentials) + len(word) > MAX_CREDENTIALS:
        registration.mechanism = registration.credentials = ""
        client.numeric(numerics.LOGIN_TOO_LONG)
    else:
        registration.credentials += "" if word == "+" else word
        if len(word) < _CHUNK:
            await _log_in(client)


def quit_(client: Client, message: Message) -> None:
    """Leave the chat."""
    reason = shown(message.parameters[0]) if message.parameters else ""
    client.leave(f"Quit: {reason}" if reason else "Quit")
    raise Ending("Quit")


def ping(client: Client, message: Message) -> None:
    """Answer a sign of life."""
    if not message.parameters:
        client.numeric(numerics.NO_ORIGIN)
    else:
        client.reply("PONG", client.server.name, text=shown(message.parameters[0]))


def pong(client: Client, message: Message) -> None:
    """Take a sign of life: each line is one."""


def _rename(client: Client, name: str) -> None:
    old = client.me
    if name == old:
        return
    try:
        client.hub.rename(client.person, name)
    except ChatRefused as refused:
        client.refuse(refused, name)
    else:
        client.expect(
            lambda event: isinstance(event, Renamed) and (event.name, event.new_name) == (old, name)
        )


async def _choose(client: Client, name: str) -> None:
    """Take the name of a client that has not registered, if it can have it once it has logged in."""
    try:
        client.hub.people.check(name, "", client.account)
    except ChatRefused as refused:
        if refused.code != "login":
            _refuse_name(client, name, refused)
            return
    client.registration.nick = name
    await _register(client)


def _refuse_name(client: Client, name: str, refused: ChatRefused) -> None:
    client.registration.refused_nicks += 1
    if client.registration.refused_nicks >= NAME_TRIES:
        raise Ending("none of your names was free") from None
    client.refuse(refused, name)


async def _register(client: Client) -> None:
    """Enter the chat if the client has said all that it has to."""
    registration = client.registration
    if client.is_present or registration.negotiates or not (registration.nick and registration.user):
        return
    if registration.password and client.server.accounts is not None and not client.account:
        account, colon, secret = registration.password.partition(":")
        if not colon:
            account, secret = registration.nick, account
        registration.password = ""
        if refused := await _refused_login(client, account, secret):
            client.numeric(numerics.WRONG_PASSWORD, text=refused)
            raise Ending(refused)
    try:
        client.enter()
    except ChatRefused as refused:
        if refused.code in ("closed", "full"):
            raise Ending(str(refused)) from None
        tried, registration.nick = registration.nick, ""
        _refuse_name(client, tried, refused)
    else:
        greet(client)


def _offered(client: Client) -> list[str]:
    offered = [*cap.CAPABILITIES, *([cap.SASL] if client.server.accounts is not None else [])]
    values = {cap.SASL: _MECHANISM} if client.cap_version >= 302 else {}
    return [f"{name}={values[name]}" if name in values else name for name in sorted(offered)]


def _list_capabilities(client: Client, subcommand: str, names: list[str]) -> None:
    room = MAX_LINE - len(f":{client.server.name} CAP {client.me} {subcommand} * :".encode())
    lines = wrapped(names, room)
    if client.cap_version < 302:
        lines = lines[:1]  # older clients take one line for the whole list
    for line in lines[:-1]:
        client.reply("CAP", client.me, subcommand, "*", text=line)
    client.reply("CAP", client.me, subcommand, text=lines[-1])


def _request(client: Client, wanted: str) -> None:
    """Switch capabilities on and off: all that are asked for, or none."""
    capabilities = set(client.capabilities)
    offered = {name.partition("=")[0] for name in _offered(client)}
    for word in wanted.split():
        name = word.removeprefix("-")
        if name not in offered or (name == cap.CAP_NOTIFY and word != name and client.cap_version >= 302):
            client.reply("CAP", client.me, "NAK", text=shown(wanted))
            return
        if word == name:
            capabilities.add(name)
        else:
            capabilities.discard(name)
    client.change_capabilities(frozenset(capabilities))
    client.reply("CAP", client.me, "ACK", text=shown(wanted))


async def _log_in(client: Client) -> None:
    registration = client.registration
    encoded, registration.mechanism, registration.credentials = registration.credentials, "", ""
    try:
        _, name, secret = base64.b64decode(encoded, validate=True).decode().split("\0")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        client.numeric(numerics.LOGIN_FAILED)
        return
    if refused := await _refused_login(client, name, secret):
        client.numeric(numerics.LOGIN_FAILED, text=refused)
        return
    source = client.form.source(client.me)
    client.numeric(numerics.LOGGED_IN, source, repeated(name), text=f"You are now logged in as {shown(name)}")
    client.numeric(numerics.LOGIN_DONE)


async def _refused_login(client: Client, account: str, secret: str) -> str:
    """Log a client in; return the reason if that is refused, else ""."""
    accounts = client.server.accounts
    try:
        if accounts is None or not await accounts.check(account, secret, client.address):
            return "wrong account or password"
    except NotTried as refused:
        return str(refused)
    client.account = fold(account)
    return ""


COMMANDS: Mapping[str, Command] = {
    "AUTHENTICATE": Command(authenticate, 1, early=True),
    "CAP": Command(capability, 1, early=True),
    "NICK": Command(nick, early=True),
    "PASS": Command(password, 1, early=True),
    "PING": Command(ping, early=True),
    "PONG": Command(pong, early=True),
    "QUIT": Command(quit_, early=True),
    "USER": Command(user, 4, early=True),
}
