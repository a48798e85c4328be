"""Command `MODE`: of rooms and of the client itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sockd_plugins.chat.hub.charter import FLAGS, KEY, LIMIT, LISTS, RANKS
from sockd_plugins.chat.hub.events import Change
from sockd_plugins.chat.hub.masks import is_like
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Room
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.commands.command import Command
from sockd_plugins.chat.irc.forms import modes
from sockd_plugins.chat.irc.message import Message, repeated

_LIST_NUMERICS = {
    "b": (numerics.BAN, numerics.BANS_END),
    "e": (numerics.EXEMPTION, numerics.EXEMPTIONS_END),
    "I": (numerics.INVITATION, numerics.INVITATIONS_END),
}

_USER_MODES = "i"
"""Modes of a client: `i`, invisible. Everybody is, so it cannot be taken away."""


def mode(client: Client, message: Message) -> None:
    """Tell or change modes."""
    target, *words = message.parameters
    if not target.startswith("#"):
        _user_mode(client, target, words)
        return
    room = client.hub.find_room(target[1:], client.person)
    if room is None:
        client.numeric(numerics.NO_SUCH_ROOM, repeated(target))
    elif not words:
        changes = room.charter.shown(to_member=client.person in room.members)
        client.numeric(numerics.MODE_OF_ROOM, f"#{room.name}", *modes(changes).split(" "))
    else:
        _room_modes(client, room, words)


def _room_modes(client: Client, room: Room, words: Sequence[str]) -> None:
    changes: list[Change] = []
    for change, is_complete in _changes(words):
        known = change.mode in FLAGS or change.mode in RANKS or change.mode in LISTS
        if not known and change.mode not in (KEY, LIMIT):
            client.numeric(numerics.UNKNOWN_MODE, repeated(change.mode))
        elif change.mode in LISTS and not change.argument:
            _tell_list(client, room, change.mode)
        elif not is_complete:
            client.numeric(
                numerics.BAD_MODE_PARAMETER, f"#{room.name}", change.mode, "*", text="A word is missing"
            )
        elif change.mode in LISTS:
            changes.append(Change(change.adds, change.mode, _mask(client, change.argument)))
        else:
            changes.append(change)
    if changes:
        try:
            client.hub.set_modes(client.person, room.name, changes)
        except ChatRefused as refused:
            client.refuse(refused, f"#{room.name}")


def _changes(words: Sequence[str]) -> Iterator[tuple[Change, bool]]:
    """Yield the changes that words mean, each with whether its argument is there if it needs one."""
    letters, *arguments = words
    adds = True
    for letter in letters:
        if letter in "+-":
            adds = letter == "+"
            continue
        takes = letter in RANKS or letter in LISTS or letter == KEY or (letter == LIMIT and adds)
        argument = arguments.pop(0) if takes and arguments else ""
        is_needed = takes and letter not in LISTS and (adds or letter != KEY)
        yield Change(adds, letter, argument), bool(argument) or not is_needed


def _mask(client: Client, text: str) -> str:
    """Return a mask as the hub understands it.

    The hub has an account between `!` and `@`, where IRC shows the name again; and people without a host
    are shown with the server's name. Clients make masks of what they are shown.
    """
    if text.startswith("$") or ("!" not in text and "@" not in text):
        return text
    name, _, rest = text.rpartition("!")
    user, at, host = rest.rpartition("@")
    if not at:
        user, host = rest, "*"
    if is_like(fold(client.server.name), fold(host)):
        host = "*"
    if name in ("", "*") and host == "*":
        name = user.removeprefix("*") or "*"  # clients put `*` before it for servers that mark unknown users
    return f"{name or '*'}!*@{host}"


def _tell_list(client: Client, room: Room, letter: str) -> None:
    entry, end = _LIST_NUMERICS[letter]
    if letter == "b" or client.person in room.members:
        # Without who added it: irssi shows the time since then, and none is known.
        for mask, _ in room.charter.listed(letter):
            client.numeric(entry, f"#{room.name}", mask)
    client.numeric(end, f"#{room.name}")


def _user_mode(client: Client, target: str, words: Sequence[str]) -> None:
    if fold(target) != fold(client.me):
        known = client.hub.find(target) is not None
        client.numeric(*((numerics.NOT_YOUR_MODE,) if known else (numerics.NO_SUCH_NICK, repeated(target))))
    elif not words:
        client.numeric(numerics.MODE_OF_USER, f"+{_USER_MODES}")
    elif set(words[0]) - set(f"+-{_USER_MODES}"):
        client.numeric(numerics.UNKNOWN_USER_MODE)


COMMANDS: Mapping[str, Command] = {"MODE": Command(mode, 1)}
