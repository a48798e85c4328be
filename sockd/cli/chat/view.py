"""Person at a conversation: its choices when it comes, and the place where it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sockd.cli.chat.wire import Private, Said


@dataclass(frozen=True, slots=True)
class Wishes:
    """Choices of a person when it comes.

    Attributes:
        name: in the chat.
        room: to enter; "" for the chat's first one.
        key: of that room; "" for none.
        password: of the account that has the name; "" for none.
        asks: whether a person is there to choose another name.
    """

    name: str
    room: str = ""
    key: str = ""
    password: str = ""
    asks: bool = False


class View(Protocol):
    """Place where a conversation is shown."""

    def said(self, said: Said, *, own: bool, old: bool) -> None:
        """Show a message of the room; an old one was asked for again, from before the others."""

    def told(self, private: Private) -> None:
        """Show a private message."""

    def note(self, text: str) -> None:
        """Show a line from the server, or about the connection."""

    def refused(self, code: str, text: str) -> None:
        """Show a refusal."""

    def unknown(self, text: str) -> None:
        """Show that it is not known whether a message has arrived."""

    def redacted(self, room: str, number: int) -> None:
        """Remove the text of a message that is shown."""
