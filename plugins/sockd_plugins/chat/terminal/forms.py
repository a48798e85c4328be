"""Lines of the text protocols: events and refusals as people read them, or with `/numbers on` for programs.

    <ann> hello                    17 2026-11-28T13:05:22.123Z <ann> hello
    ** ann waves                   18 2026-11-28T13:05:23.000Z ** ann waves
    -bot- done                     19 2026-11-28T13:05:24.000Z -bot- done
    [ann -> you] psst              - 2026-11-28T13:05:25.000Z [ann -> you] psst
    * ann joined lobby             * ann joined lobby
    * the name ann is taken        ! taken the name ann is taken

Numbers are those of the room, without a gap; times are in UTC (RFC 3339). Nothing that people say begins like
a line of the server, so no one can imitate it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sockd_plugins.chat.hub.batch import Form
from sockd_plugins.chat.hub.events import (
    AccountSet,
    AwaySet,
    Change,
    Ended,
    Entered,
    Event,
    Gone,
    Invited,
    Joined,
    Left,
    Marked,
    ModeSet,
    Parted,
    Redacted,
    Removed,
    Renamed,
    Said,
    Told,
    TopicSet,
    Unsaid,
)
from sockd_plugins.chat.hub.refused import ChatRefused

SHOWN_NAMES = 50
"""Names shown of a full room, so that the line stays readable."""


@dataclass(slots=True)
class Mode:
    """Choices of one person.

    Attributes:
        numbers: whether lines have numbers, times and codes.
        echo: whether its own messages are shown too.
        key: word with which a later connection takes the name over; empty for none.
    """

    numbers: bool = False
    echo: bool = False
    key: str = ""

    def message(self, event: Said | Told) -> str:
        """Format a message."""
        if isinstance(event, Told):
            return self._timed("-", event.at, f"[{event.name} -> you] {event.text}")
        match event.kind:
            case "said":
                text = f"<{event.name}> {event.text}"
            case "action":
                text = f"** {event.name} {event.text}"
            case "notice":
                text = f"-{event.name}- {event.text}"
        return self._timed(event.number, event.at, text)

    def own(self, told: Told) -> str:
        """Format a private message for its sender."""
        return self._timed("-", told.at, f"[you -> {told.to}] {told.text}")

    def refusal(self, refused: ChatRefused) -> str:
        """Format a refusal; empty for one that a person has read already."""
        text = f"{refused}: /login NAME PASSWORD" if refused.code == "login" else str(refused)
        return f"! {refused.code} {text}".rstrip() if self.numbers else notice(text)

    def lines(self, event: Event) -> list[str]:
        """Format an event; no lines for what the person knows already."""
        match event:
            case Said() | Told():
                return [self.message(event)]
            case Unsaid(_, text, reason):
                return [self.refusal(ChatRefused("not_said", f"not said: {text}: {reason}"))]
            case Entered(room, name, others, recent, topic):
                company = f"with {listed([it.name for it in others])}" if others else "alone"
                about = [f"* the topic of {room} is: {topic.text}"] if topic else []
                return [f"* you are {name} in {room}, {company}", *about, *map(self.message, recent)]
            case Parted():
                return []
            case Joined(room, name):
                return [f"* {name} joined {room}"]
            case Left(room, name, reason):
                return [f"* {name} left {room}" + _because(reason)]
            case Gone(name, reason):
                return [f"* {name} left" + _because(reason)]
            case Renamed(name, new_name):
                return [f"* {name} is now {new_name}"]
            case Redacted(room, number, by, reason):
                return [f"* {by or 'the chat'} removed message {number} of {room}" + _because(reason)]
            case Removed(room, name, by, reason):
                return [f"* {by} removed {name} from {room}" + _because(reason)]
            case TopicSet(room, name, text):
                return [
                    f"* {name} set the topic of {room} to: {text}"
                    if text
                    else f"* {name} removed the topic of {room}"
                ]
            case ModeSet(room, by, changes):
                return [f"* {by or 'the chat'} changed {room}: {changed(changes)}"]
            case Invited(room, _, by):
                return [f"* {by} invites you into {room}: /join {room}"]
            case AwaySet(name, text):
                return [f"* {name} is away: {text}" if text else f"* {name} is back"]
            case AccountSet(name, account):
                return [
                    f"* {name} is logged in as {account}" if account else f"* {name} is logged in no more"
                ]
            case Marked(token, room, last):
                return [f"* pong {token} {room} {last}" if room else f"* pong {token}"]
            case Ended(reason):
                return [self.refusal(ChatRefused("ended", reason))]

    def _timed(self, number: int | str, at: float, text: str) -> str:
        return f"{number} {_time(at)} {text}" if self.numbers else text


def notice(text: str) -> str:
    """Format a line from the server itself; empty if there is nothing to tell."""
    return f"* {text}" if text else ""


def listed(names: Sequence[str]) -> str:
    """Join names; only so many that the line stays readable."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def changed(changes: Iterable[Change]) -> str:
    """Format changes of modes: `+o ann -m`."""
    return " ".join(f"{'-+'[it.adds]}{it.mode} {it.argument}".rstrip() for it in changes)


def encoded(lines: Iterable[str], end: bytes) -> bytes:
    """Encode lines with their ends."""
    return b"".join(line.encode() + end for line in lines)


def _form(mode: Mode, end: bytes) -> Form:
    def form(event: Event) -> bytes:
        return encoded(mode.lines(event), end)

    return form


FORMS: Mapping[tuple[bool, bytes], Form] = {
    (numbers, end): _form(Mode(numbers), end) for numbers in (False, True) for end in (b"\n", b"\r\n")
}
"""Forms of events, by whether they have numbers, and by the end of the peer's lines."""


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _time(at: float) -> str:
    """Format a time in seconds since 1970."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
