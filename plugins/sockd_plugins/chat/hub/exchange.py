"""Way of what people do to everybody: in this process alone, or over others that serve the same chat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from sockd_plugins.chat.hub.delivery import Delivery, Entry
from sockd_plugins.chat.hub.events import Event, Invited, ModeSet, Redacted, Removed, Said, Told, TopicSet
from sockd_plugins.chat.hub.people import Person, Room

if TYPE_CHECKING:
    from sockd_plugins.chat.hub.elsewhere import Elsewhere

Deed = TopicSet | ModeSet | Removed | Invited | Told
"""Event that changes more than the person who causes it; it happens everywhere in the same order."""


class Exchange(Protocol):
    """Exchange between the processes of a chat."""

    def check_entry(self) -> None:
        """Check that it is known who and what there is; raise `ChatRefused` (`away`) if not yet."""

    def check_reach(self) -> None:
        """Check that the others can be told at once; raise `ChatRefused` (`away`) if not."""

    def changed(self, person: Person) -> None:
        """Tell the others that a person has come, or has another name, account, room or rank."""

    def gone(self, person: Person) -> None:
        """Tell the others that a person has left the chat."""

    def say(self, said: Said, room: Room, speaker: Person | None, delivered: Deferred[Event] | None) -> None:
        """Let a message have its number and be delivered; raise `ChatRefused` if that is not possible.

        Args:
            said: the message, without its number.
            room: where it is said.
            speaker: who is told if it cannot be stored, and does not read it unless it wants to.
            delivered: gets the message once it has been delivered, or what took its place.
        """

    def do(self, deed: Deed) -> None:
        """Let a deed happen; raise `ChatRefused` if that is not possible."""

    def redacted(self, redacted: Redacted) -> None:
        """Tell the others that a message was removed here; raise `ChatRefused` if that is not possible."""


class Alone:
    """Exchange of a process that serves the whole chat.

    Args:
        delivery: delivers messages.
        happen: lets a deed happen here.
    """

    def __init__(self, delivery: Delivery, happen: Callable[[Deed], None]) -> None:
        self._delivery = delivery
        self.do = happen

    def check_entry(self) -> None:
        """Do nothing: all is known."""

    def check_reach(self) -> None:
        """Do nothing: there are no other processes."""

    def changed(self, person: Person) -> None:
        """Do nothing: there are no others."""

    def gone(self, person: Person) -> None:
        """Do nothing: there are no others."""

    def redacted(self, redacted: Redacted) -> None:
        """Do nothing: there are no others."""

    def say(self, said: Said, room: Room, speaker: Person | None, delivered: Deferred[Event] | None) -> None:
        """Deliver a message."""
        self._delivery.post(entry_of(said, room, speaker, delivered))


def entry_of(
    said: Said, room: Room, speaker: Person | None, delivered: Deferred[Event] | None = None
) -> Entry:
    """Return the entry of a message; its speaker reads it only if it wants to."""
    but = speaker if speaker is not None and not speaker.echoes else None
    return Entry(said, (room,), but, speaker=speaker, delivered=delivered)


Joint = Callable[["Elsewhere"], Exchange]
"""Returns the exchange with other processes, for what they show here."""
