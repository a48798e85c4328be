"""Rules of a chat and of its rooms, as they are configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sockd.text import printable
from sockd_plugins.chat.hub.refused import ChatRefused

ReadBack = Literal["all", "joined", "none"]
"""Messages that a person may read again: all that are kept; those since its account entered for the first
time; or those since its present entry."""

DEFAULT = "nt"
"""Flags of a room that nobody has configured."""


@dataclass(frozen=True, slots=True)
class RoomRules:
    """Configured properties of a room; the options of `Chat` describe them."""

    topic: str = ""
    owners: frozenset[str] = frozenset()
    key: str = ""
    modes: str = DEFAULT
    read_back: ReadBack = "all"


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds of a chat; the options of `Chat` describe them."""

    room: str
    max_members: int
    max_rooms: int
    name_length: int
    message_length: int
    history: int
    rate: float
    burst: int
    rooms: Mapping[str, RoomRules] = field(default_factory=dict)

    def checked(self, text: str) -> str:
        """Return the text of a message as others may see it.

        Raises:
            ChatRefused: there is none, or too much of it.
        """
        text = printable(text)
        if not text or text.isspace():
            raise ChatRefused("no_text", "there is no text to send")
        if (length := len(text.encode())) > (most := self.message_length):
            raise ChatRefused("too_long", f"too long: at most {most} bytes, not {length}")
        return text
