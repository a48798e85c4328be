"""Events for the people in a chat. Each text in them is printable, in one line and of bounded length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["said", "action", "notice"]
"""Kind of a message. An action describes the speaker (`/me waves`). A notice comes from a program, and
programs never answer it (RFC 2812, 3.3.2)."""

Rank = Literal["", "voice", "operator"]
"""Rank of a person in a room."""


REMOVED = "(removed)"
"""Text of a message whose text was removed."""


@dataclass(frozen=True, slots=True)
class Said:
    """Message to a room.

    Attributes:
        number: counts the messages of the room from 1, without a gap; 0 until the message is stored.
        at: time of the message, in seconds since 1970.
        account: account of the speaker; empty for none.
    """

    room: str
    name: str
    text: str
    number: int = 0
    at: float = 0.0
    kind: Kind = "said"
    account: str = ""

    @property
    def id(self) -> str:
        """Name of the message that no other message has."""
        return f"{self.room}/{self.number}"

    def numbered(self, number: int) -> Said:
        """Return the message with its number."""
        return Said(self.room, self.name, self.text, number, self.at, self.kind, self.account)


@dataclass(frozen=True, slots=True)
class Unsaid:
    """Message that could not be stored; its speaker alone is told.

    Attributes:
        reason: text for the speaker.
    """

    room: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Told:
    """Message to one person alone, in whatever rooms."""

    name: str
    to: str
    text: str
    at: float = 0.0
    kind: Kind = "said"
    account: str = ""


@dataclass(frozen=True, slots=True)
class Present:
    """Person who is in a room, as others see it."""

    name: str
    rank: Rank = ""
    away: bool = False


@dataclass(frozen=True, slots=True)
class Topic:
    """Topic of a room: who set it, and when, in seconds since 1970."""

    text: str
    name: str
    at: float


@dataclass(frozen=True, slots=True)
class Entered:
    """Entry of the person itself into a room, with what there is to know.

    Attributes:
        others: the other people in the room.
        recent: last messages; the next one that is delivered follows the last of them.
        rank: rank of the person itself.
        account: account of the person itself; empty for none.
    """

    room: str
    name: str
    others: tuple[Present, ...] = ()
    recent: tuple[Said, ...] = ()
    topic: Topic | None = None
    rank: Rank = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class Parted:
    """Exit of the person itself from a room."""

    room: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Joined:
    """Entry of another person into a room."""

    room: str
    name: str
    account: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """Exit of another person from a room."""

    room: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Exit of another person from the chat, told once to each who shares a room with it."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """New name of a person, told once to each who shares a room with it, and to the person itself."""

    name: str
    new_name: str


@dataclass(frozen=True, slots=True)
class AccountSet:
    """Login of a person, told once to each who shares a room with it, and to the person itself."""

    name: str
    account: str


@dataclass(frozen=True, slots=True)
class Removed:
    """Exit of a person whom an operator removed from a room; the person itself is told, too.

    Attributes:
        by: name of the operator.
    """

    room: str
    name: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class TopicSet:
    """New topic of a room; empty for none.

    Attributes:
        name: who set it.
        at: time, in seconds since 1970.
    """

    room: str
    name: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Change:
    """Change of one mode of a room.

    Attributes:
        adds: whether the mode is set, or taken back.
        mode: letter of the mode, one of `charter`.
        argument: name of a person, mask, key or number; empty for a mode that has none.
    """

    adds: bool
    mode: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class ModeSet:
    """Change of modes of a room.

    Attributes:
        by: name of the operator; empty for the chat itself.
    """

    room: str
    by: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class AwaySet:
    """Absence of a person, told once to each who shares a room with it; an empty text: it is back."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Invited:
    """Invitation of the person itself into a room."""

    room: str
    name: str
    by: str


@dataclass(frozen=True, slots=True)
class Marked:
    """Answer to a person's mark: everything that happened before it has been stored and delivered, but for
    messages that are still on their way to a broker.

    Attributes:
        token: word that the person chose.
        room: room that the person asked about; empty for none.
        last: number of the last message there; 0 before the first.
    """

    token: str
    room: str = ""
    last: int = 0


@dataclass(frozen=True, slots=True)
class Redacted:
    """Removal of the text of a message.

    Attributes:
        by: name of who has removed it; empty for the operator of the machine.
    """

    room: str
    number: int
    by: str
    reason: str

    @property
    def id(self) -> str:
        """Name of the message that no other message has."""
        return f"{self.room}/{self.number}"


@dataclass(frozen=True, slots=True)
class Ended:
    """End of the chat for the person: it is in no room any more, and its name is free."""

    reason: str


Event = (
    Said
    | Unsaid
    | Told
    | Entered
    | Parted
    | Joined
    | Left
    | Gone
    | Renamed
    | Removed
    | TopicSet
    | ModeSet
    | AwaySet
    | AccountSet
    | Invited
    | Marked
    | Redacted
    | Ended
)
