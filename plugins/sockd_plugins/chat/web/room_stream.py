"""Room as a stream for scripts: server-sent events, or lines of text.

    id: 1834                                            1834 2026-11-28T13:05:00.123Z ann hello there
    data: {"type":"said","room":"ops","number":1834,…}

A line has the number, the time (UTC), the name and the text, with a blank between each; an action begins with
`/me `. Only messages are lines. Events that are no messages have the field `event` with their type, and no
`id`. Whoever follows a room is in it, as anybody can see. With `since`, or the `Last-Event-ID` of an
EventSource, the stream begins behind that message: first what the history has, then what is said, without a
gap. A peer that does not read gets an event `skipped`, or a line that begins with `#`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sockd_plugins.chat.hub.batch import Batch, Form
from sockd_plugins.chat.hub.events import Ended, Entered, Event, Parted, Removed, Said
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.web.backlog import Backlog, Skipped
from sockd_plugins.chat.web.event_stream import PING, PING_SECONDS, head
from sockd_plugins.chat.web.forms import described, described_message, type_of
from sockd_plugins.chat.web.request import EVENTS, TEXT, in_json

PAGE = 500
"""Messages that are read from the history at once."""

MOST_MISSED = 10_000
"""Messages of the history that a stream begins with; more of them are read in parts, with `limit`."""

MOST_HELD = 5000
"""Events that wait for a peer that still reads what it has missed; with more it is too slow."""


def in_line(event: Event) -> bytes:
    """Encode a message as a line; other events as nothing, but for the end."""
    if isinstance(event, Said):
        time = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
        text = f"/me {event.text}" if event.kind == "action" else event.text
        return f"{event.number} {time.removesuffix('+00:00')}Z {event.name} {text}\n".encode()
    if isinstance(event, Ended):
        return f"# {event.reason}\n".encode()
    return b""


def in_event(event: Event) -> bytes:
    """Encode an event as a server-sent event, with its number as `id` if it is a message."""
    if isinstance(event, Said):
        content = in_json({"type": "said", **described_message(event)})
        return b"id: %d\ndata: %b\n\n" % (event.number, content)
    if isinstance(event, Entered):
        content = in_json(described(event) | {"recent": []})  # its messages are events of their own
    else:
        content = in_json(described(event))
    return b"event: %b\ndata: %b\n\n" % (type_of(event).encode(), content)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Content of a stream, as a client wants it.

    Attributes:
        room: the room.
        since: number of the last message that is known; None to begin with the messages that newcomers get.
        as_events: whether as server-sent events, not lines.
    """

    room: str
    since: int | None
    as_events: bool


class RoomStream:
    """Stream of one room, whose reader is a person in it.

    Args:
        hub: the chat.
        clock: of the service.
        wanted: what it is to show.
        origin: header lines for a page of another origin.
    """

    def __init__(self, hub: Hub, clock: IReactorTime, wanted: Wanted, origin: str = "") -> None:
        self._hub = hub
        self._clock = clock
        self._wanted = wanted
        self._origin = origin
        self._form: Form = in_event if wanted.as_events else in_line
        self._person: Person | None = None
        self._name = ""
        self._transport: Any = None
        self._backlog: Backlog | None = None
        self._alarm: IDelayedCall | None = None
        self._early: list[Batch] = []  # events that came before `begin`
        self._held: list[Batch] | None = []  # events that wait until the missed messages are sent
        self._held_count = 0
        self._over = False

    def enter(self, name: str, host: str, account: str, key: str) -> None:
        """Bring the reader into the room, or raise `ChatRefused`.

        Args:
            name: of the reader.
            host: its address.
            account: that it has proved; empty for none.
            key: word that the room may ask for.
        """
        person = self._hub.enter(name, self, account=account, host=host, echoes=True)
        try:
            self._hub.join(person, self._wanted.room, key)
        except ChatRefused:
            self._hub.leave(person, "refused")
            raise
        self._person = person
        self._name = name

    def begin(self, transport: Any, rest: bytes) -> None:  # noqa: ARG002  # the peer has nothing to say here
        """Implement `Stream.begin`."""
        self._transport = transport
        transport.write(head(EVENTS if self._wanted.as_events else TEXT, extra=self._origin))
        self._backlog = Backlog(transport, self._clock, self._describe, self._give_up)
        if self._wanted.as_events:
            self._alarm = self._clock.callLater(PING_SECONDS, self._ping)
        early, self._early = self._early, []
        for batch in early:
            self.deliver(batch)

    def received(self, data: bytes) -> None:
        """Implement `Stream.received`: nothing is expected."""

    def ended(self) -> None:
        """Implement `Stream.ended`: a client that shuts down its side is gone, or does not want more."""
        self._close()

    def lost(self) -> None:
        """Implement `Stream.lost`."""
        self._stop()

    def deliver(self, batch: Batch) -> None:
        """Implement `Outlet.deliver`."""
        if self._over:
            return
        if self._transport is None:
            self._early.append(batch)
            return
        if batch.end is not None or any(_is_exit(event, self._name) for event in batch.events):
            self._send(batch)
            self._close()
            return
        if self._held is not None:
            self._held.append(batch)
            self._held_count += len(batch.events)
            if self._held_count > MOST_HELD:
                self._give_up()
                return
            entered = next((event for event in batch.events if isinstance(event, Entered)), None)
            if entered is not None:
                Deferred.fromCoroutine(self._catch_up(entered)).addErrback(self._hub.note_failure)
            return
        self._send(batch)

    async def _catch_up(self, entered: Entered) -> None:
        """Send the entry, the messages since the last known one, and what has been held meanwhile."""
        self._write(self._form(entered), (entered,))
        since, recent = self._wanted.since, entered.recent
        if since is not None and recent and recent[0].number > since + 1:
            await self._send_missed(since, recent[0].number)
        self._write(
            b"".join(self._form(said) for said in recent if since is None or said.number > since), recent
        )
        held, self._held = self._held or [], None
        for batch in held:
            places = [at for at, event in enumerate(batch.events) if not isinstance(event, Entered)]
            if places and not self._over:
                self._send(batch.pick(places))

    async def _send_missed(self, since: int, until: int) -> None:
        """Send the messages between two numbers, as fast as the peer reads them."""
        first = since
        while since + 1 < until and self._person is not None and not self._over:
            try:
                found = await self._hub.since(self._person, self._wanted.room, since, PAGE)
            except ChatRefused:
                break
            missed = [said for said in found if said.number < until]
            if not missed or missed[-1].number - first > MOST_MISSED:
                break
            if missed[0].number > since + 1:  # the history has lost the oldest ones
                self._write(self._describe({"": Skipped(missed[0].number - since - 1, since)}))
            since = missed[-1].number
            self._write(b"".join(map(self._form, missed)), missed)
            if self._backlog is not None:
                await self._backlog.until_read()
        if since + 1 < until and not self._over:
            self._write(self._describe({"": Skipped(until - since - 1, since)}))

    def _send(self, batch: Batch) -> None:
        if data := batch.encoded(self._form):
            self._write(data, batch.events)

    def _write(self, data: bytes, events: Sequence[Event] = ()) -> None:
        if data and self._backlog is not None:
            self._backlog.send(data, events)

    def _describe(self, skipped: Mapping[str, Skipped]) -> bytes:
        described_ones = []
        for each in skipped.values():
            if self._wanted.as_events:
                content = {
                    "type": "skipped",
                    "room": self._wanted.room,
                    "count": each.count,
                    "since": each.since,
                }
                described_ones.append(b"event: skipped\ndata: " + in_json(content) + b"\n\n")
            elif each.since is not None:
                described_ones.append(f"# {each.count} skipped; since={each.since} has them\n".encode())
        return b"".join(described_ones)

    def _ping(self) -> None:
        self._write(PING)
        self._alarm = self._clock.callLater(PING_SECONDS, self._ping)

    def _give_up(self) -> None:
        self._stop("too slow")
        self._transport.abortConnection()

    def _close(self) -> None:
        self._stop()
        if self._transport is not None:
            self._transport.loseConnection()

    def _stop(self, reason: str = "disconnected") -> None:
        self._over = True
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        if self._backlog is not None:
            backlog, self._backlog = self._backlog, None
            backlog.close()
        if self._person is not None:
            self._hub.leave(self._person, reason)


def _is_exit(event: Event, name: str) -> bool:
    """Tell whether the person of a name has left its room, or was removed from it."""
    return isinstance(event, Parted) or (isinstance(event, Removed) and event.name == name)
