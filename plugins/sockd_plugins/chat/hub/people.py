"""People and rooms of a chat."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.charter import Charter
from sockd_plugins.chat.hub.events import Present, Rank, Said, Topic
from sockd_plugins.token_bucket import TokenBucket


class Outlet(Protocol):
    """Receiver of a person's events: all that the hub knows of a transport."""

    def deliver(self, batch: Batch) -> None:
        """Take events at once; the hub does not wait."""


@dataclass(slots=True, eq=False)
class Membership:
    """Membership of a person in a room.

    Attributes:
        since: place of the entry among the events of the chat.
        unread: number of the last message that the person may not read; None until the entry is delivered.
    """

    since: int
    rank: Rank = ""
    unread: int | None = None


@dataclass(frozen=True, slots=True)
class Stay:
    """Past membership, whose last events are perhaps not delivered yet.

    Attributes:
        since: place of the entry among the events of the chat.
        until: place of the first event after the exit.
    """

    person: Person
    since: int
    until: int


@dataclass(slots=True, eq=False)
class Room:
    """People in a room, and its last messages.

    Attributes:
        recent: last messages that were delivered, as many as the rules show.
        said: number of the last message; 0 before the first. None while the history has not told it.
        stays: memberships that ended a moment ago.
        charter: who may do what.
    """

    name: str
    recent: deque[Said]
    said: int | None = 0
    topic: Topic | None = None
    members: dict[Person, Membership] = field(default_factory=dict)
    stays: list[Stay] = field(default_factory=list)
    charter: Charter = field(default_factory=Charter)

    def times(self, person: Person) -> Iterator[tuple[int, int | None]]:
        """Yield the times that a person was in the room: from one place to another, None for no end."""
        membership = self.members.get(person)
        if membership is not None:
            yield membership.since, None
        for stay in self.stays:
            if stay.person is person:
                yield stay.since, stay.until

    def admit(self, person: Person, said: int) -> int:
        """Note that an entry is delivered; return the number of the last message that it does not show."""
        unread = self.charter.unread(person.account, said)
        if person in self.members:
            self.members[person].unread = unread
        return unread

    def audience(self) -> Iterator[Person]:
        """Return the people who may be owed events of the room, some perhaps twice."""
        return chain(self.members, (stay.person for stay in self.stays))


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """Facts of a room, for a list of rooms.

    Attributes:
        people: number of those who are in it.
        said: number of the last message; 0 for none.
        inside: whether the person who asks is in it.
    """

    name: str
    people: int
    said: int
    topic: Topic | None
    inside: bool = False


@dataclass(slots=True, eq=False)
class Person:
    """Person in the chat, or a program.

    Attributes:
        account: name of the account that the person has proved; empty for none.
        host: cloak of its address, "-" if it has none.
        echoes: whether its own messages are delivered to it too, once they are stored.
        changed: place of its last entry or exit among the events of the chat.
        away: text for those who write to it while it is away; empty while it is there.
        invited: rooms that it was invited to and has not entered since.
        entered_at: time at which it entered the chat, in seconds since 1970.
        spoke_at: time of its last message, or of its entry.
        elsewhere: whether another process of the chat serves it.
    """

    name: str
    outlet: Outlet
    bucket: TokenBucket
    account: str = ""
    host: str = "-"
    echoes: bool = False
    rooms: dict[str, Room] = field(default_factory=dict)
    changed: int = 0
    away: str = ""
    gone: bool = False
    told_to_wait: bool = False
    invited: dict[Room, None] = field(default_factory=dict)
    entered_at: float = 0.0
    spoke_at: float = 0.0
    elsewhere: bool = False

    def seen_in(self, room: Room) -> Present:
        """Return what others see of the person in a room."""
        return Present(self.name, room.members[self].rank, bool(self.away))
