"""Commands about rooms: `JOIN`, `PART`, `NAMES`, `LIST`, `TOPIC`, `KICK`, `INVITE`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

from sockd_plugins.chat.hub.events import Entered, Parted, Removed, TopicSet
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.client import Client, Expected
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.message import Message, repeated


async def join(client: Client, message: Message) -> None:
    """Enter rooms, or leave all with `JOIN 0`."""
    channels, *rest = message.parameters
    if channels == "0":
        for room in [room.name for room in client.person.rooms.values()]:
            await client.turn()
            _part(client, f"#{room}", "")
        return
    keys = rest[0].split(",") if rest else []
    for number, (channel, key) in enumerate(zip_longest(channels.split(","), keys, fillvalue="")):
        if number:
            await client.turn()
        if channel:
            _join(client, channel, key)


async def part(client: Client, message: Message) -> None:
    """Leave rooms."""
    channels, *rest = message.parameters
    for number, channel in enumerate(_several(channels)):
        if number:
            await client.turn()
        _part(client, channel, rest[0] if rest else "")


async def names(client: Client, message: Message) -> None:
    """Tell who is in rooms of the client; of others, that the list has ended."""
    for number, channel in enumerate(_several(message.parameters[0] if message.parameters else "*")):
        if number:
            await client.turn()
        room = client.room(channel) if channel.startswith("#") else None
        if room is None:
            client.numeric(numerics.NAMES_END, repeated(channel))
        else:
            mark = "@" if "s" in room.charter.flags else "="
            present = [member.seen_in(room) for member in room.members]
            client.send(*client.form.names(client.me, room.name, present, mark))


def list_(client: Client, message: Message) -> None:
    """Tell which rooms there are, or about some of them."""
    wanted = {fold(name) for name in _several(message.parameters[0])} if message.parameters else None
    client.numeric(numerics.LIST_START, "Channel")
    for room in client.hub.rooms(client.person):
        if wanted is None or fold(f"#{room.name}") in wanted:
            topic = room.topic.text if room.topic is not None else ""
            client.numeric(numerics.LIST_ENTRY, f"#{room.name}", str(room.people), text=topic)
    client.numeric(numerics.LIST_END)


def topic(client: Client, message: Message) -> None:
    """Tell or set the topic of a room; an empty text takes it away."""
    channel, *text = message.parameters
    room = client.hub.find_room(channel.removeprefix("#"), client.person)
    if text:
        try:
            client.hub.set_topic(client.person, channel.removeprefix("#"), text[0])
        except ChatRefused as refused:
            client.refuse(refused, channel)
        else:
            client.expect(_is_about(TopicSet, channel))
    elif room is None:
        client.numeric(numerics.NO_SUCH_ROOM, repeated(channel))
    elif client.person not in room.members:
        client.numeric(numerics.NOT_ON_ROOM, f"#{room.name}")
    elif room.topic is None:
        client.numeric(numerics.NO_TOPIC, f"#{room.name}")
    else:
        client.send(*client.form.topic(client.me, room.name, room.topic))


def kick(client: Client, message: Message) -> None:
    """Remove somebody from a room."""
    channel, name, *reason = message.parameters
    try:
        client.hub.remove(client.person, channel.removeprefix("#"), name, reason[0] if reason else "")
    except ChatRefused as refused:
        client.refuse(refused, *((name, channel) if refused.code == "no_such_member" else (channel,)))
    else:
        client.expect(_is_about(Removed, channel))


def invite(client: Client, message: Message) -> None:
    """Invite somebody into a room."""
    name, channel = message.parameters[:2]
    try:
        spelt = client.hub.invite(client.person, channel.removeprefix("#"), name)
    except ChatRefused as refused:
        match refused.code:
            case "in_room_already":
                client.refuse(refused, name, channel)
            case "no_such_name":
                client.refuse(refused, name)
            case _:
                client.refuse(refused, channel)
    else:
        client.numeric(numerics.INVITING, spelt, repeated(channel))
        other = client.hub.find(spelt)
        if other is not None and other.away:
            client.numeric(numerics.AWAY, spelt, text=other.away)


def _join(client: Client, channel: str, key: str) -> None:
    if not channel.startswith("#"):
        client.numeric(numerics.NO_SUCH_ROOM, repeated(channel))
        return
    try:
        client.hub.join(client.person, channel[1:], key)
    except ChatRefused as refused:
        match refused.code:
            case "in_room_already":
                pass  # RFC 2812 has no answer for it
            case "bad_name" | "confusable":
                client.refuse(refused, channel, by=numerics.BAD_ROOM_NAME)
            case _:
                client.refuse(refused, channel)
    else:
        client.expect(_is_about(Entered, channel))


def _part(client: Client, channel: str, reason: str) -> None:
    try:
        client.hub.part(client.person, channel.removeprefix("#"), reason)
    except ChatRefused as refused:
        client.refuse(refused, channel)
    else:
        client.expect(_is_about(Parted, channel))


def _is_about(kind: type[Entered | Parted | Removed | TopicSet], channel: str) -> Expected:
    """Return the test for an event of a kind in a room."""
    room = fold(channel.removeprefix("#"))
    return lambda event: isinstance(event, kind) and fold(event.room) == room


def _several(words: str) -> list[str]:
    """Return words that stand with commas between them, each once."""
    return [word for word in dict.fromkeys(words.split(",")) if word]


COMMANDS: Mapping[str, Command] = {
    "INVITE": Command(invite, 2),
    "JOIN": Command(join, 1),
    "KICK": Command(kick, 2),
    "LIST": Command(list_),
    "NAMES": Command(names),
    "PART": Command(part, 1),
    "TOPIC": Command(topic, 1),
}
