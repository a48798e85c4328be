"""Commands about people: `WHO`, `WHOIS`, `WHOWAS`, `ISON`, `USERHOST`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sockd_plugins.chat.hub.events import Rank
from sockd_plugins.chat.hub.facts import PersonFacts
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.forms import PREFIXES
from sockd_plugins.chat.irc.message import Message, repeated
from sockd_plugins.chat.irc.server import MAX_ASKED

_WHOX = re.compile(r"[^%]*%([a-zA-Z]*)(?:,([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class _Row:
    """Person in the answer to `WHO`."""

    server: str
    host: str
    room: str
    name: str
    account: str
    rank: Rank
    away: bool

    @property
    def flags(self) -> str:
        return ("G" if self.away else "H") + PREFIXES[self.rank]


_FIELDS: Mapping[str, Callable[[_Row], str]] = {
    "c": lambda row: f"#{row.room}" if row.room else "*",
    "u": lambda row: row.name,
    "i": lambda _: "255.255.255.255",  # as servers do that show no address
    "h": lambda row: row.host,
    "s": lambda row: row.server,
    "n": lambda row: row.name,
    "f": lambda row: row.flags,
    "d": lambda _: "0",
    "l": lambda _: "0",
    "a": lambda row: row.account or "0",
    "o": lambda _: "n/a",
}
"""Fields of WHOX in the order in which they are sent; `t` precedes and `r` follows them."""


def who(client: Client, message: Message) -> None:
    """Tell who is in a room of the client, or about one person."""
    mask = message.parameters[0] if message.parameters else "*"
    asked = _WHOX.fullmatch(message.parameters[1]) if len(message.parameters) > 1 else None
    for row in _rows(client, mask):
        if asked is None:
            client.numeric(
                numerics.WHO_ENTRY,
                *(_FIELDS[field](row) for field in "cuhsnf"),
                text=f"0 {row.name}",
            )
        else:
            fields, token = asked[1].lower(), asked[2] or "0"
            words = [token] if "t" in fields else []
            words += [value(row) for field, value in _FIELDS.items() if field in fields]
            client.numeric(numerics.WHOX_ENTRY, *words, text=row.name if "r" in fields else None)
    client.numeric(numerics.WHO_END, repeated(mask))


async def whois(client: Client, message: Message) -> None:
    """Tell about people. An argument in front of them names a server."""
    asked = message.parameters[1 if len(message.parameters) > 1 else 0]
    for number, nick in enumerate(asked.split(",")[:MAX_ASKED]):
        if number:
            await client.turn()
        try:
            _tell_about(client, client.hub.whois(client.person, nick))
        except ChatRefused as refused:
            client.refuse(refused, nick)
    client.numeric(numerics.WHOIS_END, repeated(asked))


def whowas(client: Client, message: Message) -> None:
    """Tell that nothing is known of people who have left: nothing is kept."""
    client.numeric(numerics.WAS_NO_SUCH_NICK, repeated(message.parameters[0]))
    client.numeric(numerics.WHOWAS_END, repeated(message.parameters[0]))


def is_on(client: Client, message: Message) -> None:
    """Tell which of some names are there."""
    asked = " ".join(message.parameters).split()[: MAX_ASKED * 5]
    client.numeric(numerics.ON, text=" ".join(person.name for person in _found(client, asked)))


def user_hosts(client: Client, message: Message) -> None:
    """Tell the hosts of people."""
    words = (
        f"{person.name}={'-' if person.away else '+'}{person.name}@{client.server.host_of(person.name)}"
        for person in _found(client, message.parameters[:5])
    )
    client.numeric(numerics.HOSTS, text=" ".join(words))


def _found(client: Client, names: tuple[str, ...] | list[str]) -> Iterator[Person]:
    for name in names:
        person = client.hub.find(name)
        if person is not None:
            yield person


def _rows(client: Client, mask: str) -> Iterator[_Row]:
    server, host_of = client.server.name, client.server.host_of
    if not mask.startswith("#"):
        person = client.hub.find(mask)
        if person is not None:
            yield _Row(server, host_of(mask), "", person.name, person.account, "", bool(person.away))
        return
    room = client.room(mask)
    if room is not None:
        for member in room.members:
            seen = member.seen_in(room)
            yield _Row(
                server, host_of(member.name), room.name, member.name, member.account, seen.rank, seen.away
            )


def _tell_about(client: Client, facts: PersonFacts) -> None:
    name, server = facts.name, client.server
    client.numeric(numerics.WHOIS_USER, name, name, server.host_of(name), "*", text=name)
    if facts.rooms:
        text = " ".join(f"{PREFIXES[rank]}#{room}" for room, rank in facts.rooms)
        client.numeric(numerics.WHOIS_ROOMS, name, text=text)
    client.numeric(numerics.WHOIS_SERVER, name, server.name, text=server.network)
    if facts.account:
        client.numeric(numerics.WHOIS_ACCOUNT, name, facts.account)
    if facts.away:
        client.numeric(numerics.AWAY, name, text=facts.away)
    client.numeric(numerics.WHOIS_IDLE, name, str(int(facts.idle)), str(int(facts.entered_at)))


COMMANDS: Mapping[str, Command] = {
    "ISON": Command(is_on, 1),
    "USERHOST": Command(user_hosts, 1),
    "WHO": Command(who),
    "WHOIS": Command(whois, 1),
    "WHOWAS": Command(whowas, 1),
}
