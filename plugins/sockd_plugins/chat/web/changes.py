"""Commands that change a room or a person, and whose only answers are events."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sockd_plugins.chat.hub.events import Change
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.web.commands import Command


def part(hub: Hub, person: Person, command: Command) -> None:
    """Leave a room."""
    hub.part(person, command.word("room"), command.word("reason", ""))


def set_topic(hub: Hub, person: Person, command: Command) -> None:
    """Set the topic of a room."""
    hub.set_topic(person, command.word("room"), command.word("text"))


def set_away(hub: Hub, person: Person, command: Command) -> None:
    """Be away, with a text, or back without one."""
    hub.set_away(person, command.word("text", ""))


def invite(hub: Hub, person: Person, command: Command) -> None:
    """Invite somebody into a room."""
    hub.invite(person, command.word("room"), command.word("name"))


def remove(hub: Hub, person: Person, command: Command) -> None:
    """Remove somebody from a room."""
    hub.remove(person, command.word("room"), command.word("name"), command.word("reason", ""))


def set_mode(hub: Hub, person: Person, command: Command) -> None:
    """Change a mode of a room."""
    change = Change(command.flag("adds"), command.word("mode"), command.word("argument", ""))
    hub.set_modes(person, command.word("room"), (change,))


CHANGES: Mapping[str, Callable[[Hub, Person, Command], None]] = {
    "part": part,
    "topic": set_topic,
    "away": set_away,
    "invite": invite,
    "remove": remove,
    "mode": set_mode,
}
"""Changes by the `type` of their commands."""
