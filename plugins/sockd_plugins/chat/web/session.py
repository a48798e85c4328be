"""Conversation in JSON with one person, over whatever carries its texts.

docs/chat.md describes each command and event. The answers come in the order of the commands, but for those
that wait for the history.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.chat.hub.batch import Batch, Form
from sockd_plugins.chat.hub.events import Entered, Event, Renamed, Said, Unsaid
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.web.backlog import Skipped
from sockd_plugins.chat.web.changes import CHANGES
from sockd_plugins.chat.web.commands import Command, bad
from sockd_plugins.chat.web.forms import described, described_message, described_skipped
from sockd_plugins.chat.web.login import log_in
from sockd_plugins.chat.web.lookups import LOOKUPS, LookUp, list_rooms
from sockd_plugins.chat.web.request import in_json
from sockd_plugins.token_bucket import TokenBucket

HELLO_SECONDS = 30.0
"""Seconds until a client has said who it is."""

MOST_FAULTS = 20
"""Commands at once that cannot be read, or come before `hello`; one more each second."""

HEARTBEAT_SECONDS = 150.0
"""Seconds without a command after which a page that has promised a heartbeat is gone."""

Ref = str | int | None


class Line(Protocol):
    """Carrier of a conversation."""

    def wrap(self, text: bytes) -> bytes:
        """Return JSON ready to be sent."""

    def send(self, data: bytes, events: Sequence[Event] = ()) -> None:
        """Send what was encoded."""

    def close(self, code: str, reason: str) -> None:
        """End the conversation after what was sent; the code is that of a refusal, or "ended"."""


@dataclass(frozen=True, slots=True)
class Salon:
    """Chat with what all conversations of it share.

    Attributes:
        hub: the chat.
        clock: of the service.
        here: conversations by the keys with which a client may continue in another one.
        limits: numbers that clients are told.
        epoch: word that is another one whenever messages are numbered anew; empty if that never happens.
        accounts: of the chat; None if it has none.
    """

    hub: Hub
    clock: IReactorTime
    here: dict[str, Session]
    limits: Mapping[str, int]
    epoch: str = ""
    accounts: Accounts | None = None


class Session:
    """Conversation with one client, which becomes a person by `hello`.

    Args:
        salon: the chat.
        line: carries the texts.
        form: encoding of an event, ready for the line.
        host: address of the client.
    """

    __slots__ = (
        "_alarm",
        "_closed",
        "_due",
        "_faults",
        "_form",
        "_has_heartbeat",
        "_host",
        "_hub",
        "_is_logging_in",
        "_key",
        "_line",
        "_person",
        "_said",
        "_salon",
        "_shown",
        "_since",
    )

    def __init__(self, salon: Salon, line: Line, form: Form, host: str) -> None:
        self._salon = salon
        self._hub = salon.hub
        self._line = line
        self._form = form
        self._host = host
        self._person: Person | None = None
        self._shown = ""  # name of the person as of the last event that was delivered
        self._key = ""
        self._faults = TokenBucket(1, MOST_FAULTS, salon.clock.seconds)
        self._said: list[Ref] = []  # messages that have not come back yet, in their order
        self._since: dict[str, int] = {}  # last known number of each room that is being entered
        self._due = 0  # own events that need an encoding of their own
        self._closed = False
        self._is_logging_in = False
        self._alarm: IDelayedCall | None = salon.clock.callLater(HELLO_SECONDS, self._late)
        self._has_heartbeat = False

    def received(self, text: str) -> None:
        """Carry out a command."""
        if self._closed:
            return
        ref: Ref = None
        kind = ""
        try:
            command = Command(text)
            ref, kind = command.ref, command.type
            if self._has_heartbeat and self._alarm is not None:
                self._alarm.reset(HEARTBEAT_SECONDS)
            self._carry_out(command)
        except ChatRefused as refused:
            self._refuse(kind, ref, refused)

    def deliver(self, batch: Batch) -> None:
        """Send events to the client."""
        if self._closed:
            return
        data = self._own(batch) if self._due else batch.encoded(self._form)
        self._line.send(data, batch.events)
        if batch.end is not None:
            self._finish()
            self._line.close("ended", batch.end.reason)

    def lost(self, reason: str = "disconnected") -> None:
        """Bring the person out of the chat, because its client is gone."""
        self._finish()
        if self._person is not None:
            self._hub.leave(self._person, reason)

    def describe(self, skipped: Mapping[str, Skipped]) -> bytes:
        """Encode what the client was not sent."""
        return b"".join(map(self._line.wrap, described_skipped(skipped)))

    def end(self, code: str, reason: str) -> None:
        """End the conversation from the server's side."""
        if not self._closed:
            self.lost(reason)
            self._tell(type="ended", code=code, reason=reason)
            self._line.close(code, reason)

    def _finish(self) -> None:
        self._closed = True
        self._stop_waiting()
        if self._salon.here.get(self._key) is self:
            del self._salon.here[self._key]

    def _stop_waiting(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _late(self) -> None:
        self._alarm = None
        if self._has_heartbeat:
            self.end("silent", f"nothing came for {HEARTBEAT_SECONDS:g} seconds")
        else:
            self.end("too_slow", f"expected 'hello' within {HELLO_SECONDS:g} seconds")

    def _carry_out(self, command: Command) -> None:
        if command.type == "hello":
            self._hello(command)
            return
        if command.type == "ping":
            self._check_patience()
            self._tell(type="pong", ref=command.ref)
            return
        known = (*_COMMANDS, *CHANGES, *LOOKUPS)
        if command.type not in known:
            raise bad(f"expected one of hello, ping, {', '.join(known)} as 'type'")
        if self._person is None:
            raise bad("expected 'hello' first")
        if change := CHANGES.get(command.type):
            change(self._hub, self._person, command)
        elif look_up := LOOKUPS.get(command.type):
            looking = self._look_up(look_up, self._person, command)
            Deferred.fromCoroutine(looking).addErrback(self._hub.note_failure)
        else:
            _COMMANDS[command.type](self, self._person, command)

    def _refuse(self, kind: str, ref: Ref, refused: ChatRefused) -> None:
        text = str(refused)
        if refused.code in ("bad_command", "taken", "bad_name", "confusable", "login", "denied"):
            self._check_patience()
        if text or ref is not None:
            self._tell(type="refused", command=kind, ref=ref, code=refused.code, text=text or "too fast")

    def _check_patience(self) -> None:
        """Count what the hub does not count, and end a client that sends too much of it."""
        if not self._faults.take():
            self.end("too_fast", "too many commands that cannot be carried out")

    def _hello(self, command: Command) -> None:
        if self._person is not None or self._is_logging_in:
            raise bad("expected 'hello' once")
        if not command.word("password", ""):
            self._enter(command, "")
            return
        self._is_logging_in = True
        Deferred.fromCoroutine(self._log_in(command)).addErrback(self._hub.note_failure)

    async def _log_in(self, command: Command) -> None:
        """Enter the chat as an account, if the password is right."""
        try:
            name, password = command.word("account", command.word("name")), command.word("password")
            account = await log_in(self._salon.accounts, name, password, self._host)
            if not self._closed:
                self._enter(command, account)
        except ChatRefused as refused:
            if not self._closed:
                self._refuse("hello", command.ref, refused)
        finally:
            self._is_logging_in = False

    def _enter(self, command: Command, account: str) -> None:
        """Enter the chat and its rooms."""
        name, rooms = command.word("name"), command.rooms()
        self._take_over(command.word("key", ""), name)
        person = self._hub.enter(name, self, account=account, host=self._host, echoes=True)
        self._person, self._shown = person, person.name
        self._key = secrets.token_urlsafe(16)
        self._salon.here[self._key] = self
        self._has_heartbeat = command.flag("heartbeat")
        self._stop_waiting()
        if self._has_heartbeat:
            self._alarm = self._salon.clock.callLater(HEARTBEAT_SECONDS, self._late)
        self._tell(
            type="welcome",
            ref=command.ref,
            name=person.name,
            key=self._key,
            room=self._hub.first_room,
            epoch=self._salon.epoch,
            limits=self._salon.limits,
            features=["search"],
        )
        is_known = command.word("epoch", self._salon.epoch) == self._salon.epoch
        for room, since in rooms.items():
            try:
                self._join(person, room, since if is_known else None)
            except ChatRefused as refused:
                self._tell(type="refused", command="join", room=room, code=refused.code, text=str(refused))

    def _take_over(self, key: str, name: str) -> None:
        """End the earlier conversation of a client that has lost it before the server has noticed that."""
        earlier = self._salon.here.get(key)
        if earlier is not None and fold(earlier._shown) == fold(name):
            earlier.end("replaced", "another connection goes on")

    def _join(self, person: Person, room: str, since: int | None, key: str = "") -> None:
        if since is not None:
            self._since[fold(room)] = since
        try:
            with self._expecting():
                self._hub.join(person, room, key)
        except ChatRefused:
            self._since.pop(fold(room), None)
            raise

    def do_join(self, person: Person, command: Command) -> None:
        """Enter a room."""
        self._join(person, command.word("room"), command.optional_number("since"), command.word("key", ""))

    def do_say(self, person: Person, command: Command) -> None:
        """Send a message to a room."""
        room, text, kind = command.word("room"), command.word("text"), command.kind()
        self._said.append(command.ref)
        try:
            with self._expecting():
                self._hub.say(person, room, text, kind)
        except ChatRefused:
            self._said.pop()
            raise

    def do_tell(self, person: Person, command: Command) -> None:
        """Send a message to one person."""
        told = self._hub.tell(person, command.word("to"), command.word("text"), command.kind())
        self._tell(**described(told), ref=command.ref)

    def do_rename(self, person: Person, command: Command) -> None:
        """Bear another name."""
        name = command.word("name")
        with self._expecting():
            self._hub.rename(person, name)

    def do_who(self, person: Person, command: Command) -> None:
        """Tell who is in a room."""
        room = command.word("room")
        present = self._hub.present(person, room)
        people = [{"name": each.name, "rank": each.rank, "away": each.away} for each in present]
        self._tell(type="present", room=room, ref=command.ref, people=people)

    def do_rooms(self, person: Person, command: Command) -> None:
        """List the rooms."""
        self._check_patience()
        self._tell(type="rooms", ref=command.ref, rooms=list_rooms(self._hub, person))

    async def _look_up(self, look_up: LookUp, person: Person, command: Command) -> None:
        """Send messages that were said before."""
        try:
            found = await look_up(self._hub, person, command)
        except ChatRefused as refused:
            if not self._closed:
                self._refuse(command.type, command.ref, refused)
            return
        if found is None:
            return
        listed = [described_message(said) for said in found]
        room = command.word("room")
        self._tell(type="messages", command=command.type, room=room, ref=command.ref, messages=listed)

    @contextmanager
    def _expecting(self) -> Iterator[None]:
        """Expect an own event, which may be delivered before the request returns."""
        if not self._due and self._person is not None:
            self._shown = self._person.name  # others may have changed it
        self._due += 1
        try:
            yield
        except ChatRefused:
            self._due -= 1
            raise

    def _tell(self, **fields: Any) -> None:
        """Send an object that is for this client alone."""
        if not self._closed or fields["type"] == "ended":
            self._line.send(self._line.wrap(in_json({k: v for k, v in fields.items() if v is not None})))

    def _own(self, batch: Batch) -> bytes:
        """Encode events, with what this client alone is told about its own ones."""
        data = []
        for place, event in enumerate(batch.events):
            if isinstance(event, Entered):
                data.append(self._entered(event))
            elif isinstance(event, Renamed) and event.name == self._shown:
                self._shown = event.new_name
                self._due -= 1
                data.append(batch.pick([place]).encoded(self._form))
            elif isinstance(event, Unsaid) or (isinstance(event, Said) and event.name == self._shown):
                data.append(self._acknowledged(event))
            else:
                data.append(batch.pick([place]).encoded(self._form))
        return b"".join(data)

    def _acknowledged(self, event: Said | Unsaid) -> bytes:
        """Encode an own message that came back, with the client's `ref`."""
        ref = None
        if self._said:
            ref = self._said.pop(0)
            self._due -= 1
        return self._line.wrap(in_json(described(event) | ({} if ref is None else {"ref": ref})))

    def _entered(self, event: Entered) -> bytes:
        """Encode an entry, with the messages that the client does not know yet."""
        self._due = max(self._due - 1, 0)
        content = described(event)
        since = self._since.pop(fold(event.room), None)
        if since is not None:
            content["recent"] = [described_message(said) for said in event.recent if said.number > since]
        return self._line.wrap(in_json(content))


_COMMANDS: Mapping[str, Callable[[Session, Person, Command], None]] = {
    "join": Session.do_join,
    "say": Session.do_say,
    "tell": Session.do_tell,
    "rename": Session.do_rename,
    "who": Session.do_who,
    "rooms": Session.do_rooms,
}
