"""Commands of `sockd history`: they work on the stored messages, beside a daemon that may serve the chat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sockd.errors import CommandRefused
from sockd.plugin import Command, Configured
from sockd.text import printable
from sockd_plugins.chat.history.records import NoHistory, records_in
from sockd_plugins.chat.history.upkeep import Change
from sockd_plugins.chat.history.words import NoWord
from sockd_plugins.chat.hub.hub import Hub

_LONGEST_REASON = 200  # characters


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands for one service.

    Attributes:
        configured: the service.
    """

    configured: Configured

    def all(self) -> Mapping[str, Command]:
        """Return each command by its name."""
        commands = (self.search, self.export, self.redact, self.forget)
        return {command.__name__: _refusing(command) for command in commands}

    def search(self, *, words: str, room: str, limit: int) -> list[dict[str, Any]]:
        """Find messages by their words, the newest first."""
        with records_in(self.configured.state_dir) as records:
            return [
                {
                    "room": said.room,
                    "number": said.number,
                    "at": said.at,
                    "name": said.name,
                    "text": said.text,
                }
                for said in records.search(words, room, limit)
            ]

    def export(self, *, name: str) -> Iterator[dict[str, Any]]:
        """Yield the messages of a person."""
        with records_in(self.configured.state_dir) as records:
            yield from records.export(name)

    def redact(self, *, room: str, number: int, reason: str) -> dict[str, Any]:
        """Remove the text of a message for good."""
        with records_in(self.configured.state_dir) as records:
            if not records.redact(room, number, printable(reason)[:_LONGEST_REASON]):
                raise CommandRefused(f"there is no message {number} in {printable(room)}")
            return {"room": room, "number": number, "clean": records.clean()}

    def forget(self, *, name: str) -> dict[str, Any]:
        """Remove text and name from all messages of a person for good."""
        with records_in(self.configured.state_dir) as records:
            count = records.forget(name)
            return {"name": name, "messages": count, "clean": records.clean()}


def note_changes(hub: Hub, changes: Sequence[Change]) -> None:
    """Bring what commands have removed out of the memory of a running chat."""
    for change in changes:
        if change.name:
            hub.record.note_forgotten(change.name)
        else:
            hub.record.note_redacted(change.room, change.number, change.reason)


def _refusing(command: Callable[..., Any]) -> Command:
    """Return a command that refuses in one line where the records do."""

    def refusing(**arguments: Any) -> Any:
        try:
            result = command(**arguments)
            return list(result) if isinstance(result, Iterator) else result
        except (NoHistory, NoWord) as error:
            raise CommandRefused(str(error)) from error

    return refusing
