"""Client of an IRC server: who it is, what it can do, and the answer to its present command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.task import deferLater

from sockd.text import printable
from sockd_plugins.chat.hub.events import Entered, Event
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Outlet, Person, Room
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc import capabilities as cap
from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.answers import labelled
from sockd_plugins.chat.irc.forms import IrcForm
from sockd_plugins.chat.irc.message import repeated
from sockd_plugins.chat.irc.numerics import Numeric
from sockd_plugins.chat.irc.pace import Pace
from sockd_plugins.chat.irc.server import Server
from sockd_plugins.chat.irc.text import timestamp

_NO_CAPABILITIES: frozenset[str] = frozenset()

Expected = Callable[[Event], bool]
"""Test for the event that a command causes."""


class Ending(Exception):
    """End of a connection. The text tells the client the reason."""


@dataclass(slots=True)
class Registration:
    """Words of a client before it is in the chat.

    Attributes:
        negotiates: whether it asks for capabilities, and has not ended that.
        password: of an account; empty for none.
        refused_nicks: names in a row that it could not have.
        mechanism: SASL mechanism that it has begun; empty for none.
        credentials: what came of them so far, in Base64.
    """

    nick: str = ""
    user: str = ""
    password: str = ""
    negotiates: bool = False
    refused_nicks: int = 0
    mechanism: str = ""
    credentials: str = ""


@dataclass(frozen=True, slots=True)
class Spoken:
    """Message of the client that comes back to it, and the label of its command."""

    room: str
    text: str
    label: str


class Link(Outlet, Protocol):
    """Connection of a client, as far as the client needs it."""

    def tell(self, lines: list[str]) -> None:
        """Send lines that are no answer to a command."""


class Client:
    """Client of a server.

    Args:
        server: the server.
        address: the client's.
        link: sends the client what is no answer to a command.
    """

    __slots__ = (
        "_is_gone",
        "_link",
        "_person",
        "account",
        "address",
        "cap_version",
        "capabilities",
        "expected",
        "form",
        "hub",
        "label",
        "lines",
        "pace",
        "registration",
        "server",
        "spoken",
    )

    def __init__(self, server: Server, address: str, link: Link) -> None:
        self.server = server
        self.hub = server.hub
        self.address = address
        self._link = link
        # A little slower than what the hub allows, which would refuse what comes too early.
        self.pace = Pace(server.rules.rate * 0.99, server.rules.burst, server.clock.seconds)
        self.registration = Registration()
        self.capabilities = _NO_CAPABILITIES
        self.cap_version = 0
        self.form: IrcForm = server.forms.of(())
        self.account = ""
        self.label = ""
        self.expected: list[Expected] = []
        self.spoken: list[Spoken] = []
        self.lines: list[str] = []
        self._person: Person | None = None
        self._is_gone = False

    @property
    def me(self) -> str:
        """Name of the client in its numerics; `*` before it has one."""
        return self._person.name if self._person is not None else self.registration.nick or "*"

    @property
    def is_present(self) -> bool:
        """True once the client has registered."""
        return self._person is not None

    @property
    def person(self) -> Person:
        """Person of a client that has registered."""
        if self._person is None:
            raise LookupError("the client has not registered")
        return self._person

    def enter(self) -> None:
        """Enter the chat.

        Raises:
            ChatRefused: that is not possible.
            Ending: the client has gone while its password was looked at.
        """
        if self._is_gone:
            raise Ending("gone")
        self._person = self.hub.enter(
            self.registration.nick,
            self._link,
            account=self.account,
            host=self.address,
            echoes=cap.ECHO_MESSAGE in self.capabilities,
        )
        self.server.markers.add(self, self.account)

    def leave(self, reason: str) -> None:
        """Leave the chat, if the client is in it; it does not come back."""
        self._is_gone = True
        self.server.markers.remove(self, self.account)
        self.server.monitors.forget(self)
        if self._person is not None:
            self.hub.leave(self._person, reason)

    def can(self, capability: str) -> bool:
        """Tell whether the client has asked for a capability."""
        return capability in self.capabilities

    def change_capabilities(self, capabilities: frozenset[str]) -> None:
        """Give the client other capabilities."""
        self.capabilities = capabilities
        self.spoken.clear()
        self.form = self.server.forms.of(capabilities)
        if self._person is not None:
            self._person.echoes = cap.ECHO_MESSAGE in capabilities

    def tell_of(self, name: str, used: bool) -> None:
        """Tell the client that a name it watches has come into use, or out of it."""
        numeric = numerics.MONITOR_ONLINE if used else numerics.MONITOR_OFFLINE
        text = self.form.source(name) if used else name
        self.tell(f":{self.server.name} {numeric.code} {self.me} :{text}")

    def tell(self, line: str) -> None:
        """Send a line that is no answer to a command."""
        self._link.tell([line])

    def mark(self, target: str) -> str:
        """Return the line that says how far a room, or the words of a person, are read."""
        at = self.server.markers.read_until(self, self.account, target)
        value = "*" if at is None else f"timestamp={timestamp(at)}"
        return f":{self.server.name} MARKREAD {target} {value}"

    def entry(self, event: Entered) -> list[str]:
        """Return the lines of the client's entry into a room."""
        lines = self.form.lines(event)
        if self.can(cap.READ_MARKER):
            end = next(place for place, line in enumerate(lines) if line.split(" ", 2)[1] == "366")
            lines.insert(end, self.mark(f"#{event.room}"))
        return lines

    def room(self, name: str) -> Room | None:
        """Return a room that the client is in.

        Args:
            name: its name, with `#` or without.
        """
        return self.person.rooms.get(fold(name.removeprefix("#")))

    async def turn(self) -> None:
        """Wait until the client may have another part of its command carried out.

        Raises:
            Ending: it is gone meanwhile.
        """
        self.pace.count()
        delay = self.pace.wait()
        if delay:
            await deferLater(self.server.clock, delay)
        if self.person.gone:
            raise Ending("gone")

    def send(self, *lines: str) -> None:
        """Answer with whole lines."""
        self.lines.extend(lines)

    def reply(self, command: str, *parameters: str, text: str | None = None) -> None:
        """Answer with a line of the server.

        Args:
            command: its command.
            parameters: words without spaces.
            text: its last parameter, whatever is in it.
        """
        line = " ".join((f":{self.server.name}", command, *parameters))
        self.lines.append(line if text is None else f"{line} :{text}")

    def numeric(self, numeric: Numeric, *parameters: str, text: str | None = None) -> None:
        """Answer with a numeric, and with another text than its usual one if `text` is given."""
        self.reply(numeric.code, self.me, *parameters, text=(numeric.text or None) if text is None else text)

    def fail(self, command: str, code: str, *context: str, text: str) -> None:
        """Answer that a command has failed, where there is no numeric for the reason (standard replies)."""
        if self.can(cap.STANDARD_REPLIES):
            self.reply("FAIL", command, code, *context, text=text)
        else:
            self.reply("NOTICE", self.me, text=f"{command}: {text}")

    def refuse(self, refused: ChatRefused, *parameters: str, by: Numeric | None = None) -> None:
        """Answer that the chat has refused a command.

        Args:
            refused: the refusal; one without a text has been told already.
            parameters: what was refused, as the peer wrote it.
            by: numeric for refusals of all kinds; without it each kind has its own.
        """
        text = str(refused)
        if text:
            numeric = by or _NUMERICS.get(refused.code, numerics.UNKNOWN_ERROR)
            self.numeric(numeric, *map(repeated, parameters), text=text)

    def meets(self, event: Event) -> bool:
        """Tell whether the answer waits for an event; from then on it does not."""
        for expected in self.expected:
            if expected(event):
                self.expected.remove(expected)
                return True
        return False

    def expect(self, expected: Expected) -> None:
        """Answer the next command only after an event, which belongs to the answer of the present one."""
        self.expected.append(expected)

    def answer(self) -> list[str]:
        """Return the lines of the answer; the next command gets one of its own."""
        lines = labelled(self.server.name, self.label, self.lines)
        self.label = ""
        self.lines = []
        return lines


def shown(text: str) -> str:
    """Return a peer's text for the last parameter of an answer."""
    return printable(text)


_NUMERICS = {
    "bad_mask": numerics.BAD_MODE_PARAMETER,
    "bad_mode": numerics.UNKNOWN_MODE,
    "bad_name": numerics.BAD_NICK,
    "banned": numerics.BANNED,
    "confusable": numerics.NICK_TAKEN,
    "in_room_already": numerics.ALREADY_IN_ROOM,
    "invite": numerics.INVITE_ONLY,
    "key": numerics.BAD_KEY,
    "list_full": numerics.BAN_LIST_FULL,
    "login": numerics.NICK_TAKEN,
    "no_such_member": numerics.NOT_IN_ROOM,
    "no_such_name": numerics.NO_SUCH_NICK,
    "no_such_room": numerics.NO_SUCH_ROOM,
    "no_text": numerics.NO_TEXT,
    "not_in_room": numerics.NOT_ON_ROOM,
    "not_operator": numerics.NOT_OPERATOR,
    "room_full": numerics.ROOM_IS_FULL,
    "taken": numerics.NICK_TAKEN,
    "too_many_rooms": numerics.TOO_MANY_ROOMS,
}
"""Numeric of each kind of refusal."""
