"""Text form of the chat: the slash commands and the lines that TCP and datagram members have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from twisted.internet.defer import ensureDeferred

from sockd_plugins.chat.hub.events import (
    AccountSet,
    AwaySet,
    Ended,
    Entered,
    Event,
    Gone,
    Invited,
    Joined,
    Left,
    ModeSet,
    Parted,
    Removed,
    Renamed,
    Said,
    Told,
    TopicSet,
    Unsaid,
)
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused

HELP = (
    "* /join ROOM, /nick NAME, /who, /msg NAME TEXT, /since NUMBER, /help, /quit;"
    " anything else is said to the room"
)

SHOWN_NAMES = 50
"""Names shown of a full room, so that the line stays readable."""


SHOWN_AGAIN = 200
"""Messages that one `/since` shows at most."""

Show = Callable[..., None]
"""Shows lines to a person."""


def act(hub: Hub, person: Person, line: str, show: Show) -> None:
    """Execute what a person wrote, and show it the answer, perhaps later.

    What the person is owed by then is delivered before the answer, unless it has to be stored first.
    """
    if not line or line.isspace():
        return
    command, _, argument = line.partition(" ")
    if command.lower() == "/since":
        ensureDeferred(_again(hub, person, argument.strip(), show)).addErrback(hub.note_failure)
        return
    try:
        answer = tuple(_act(hub, person, line))
    except ChatRefused as refused:
        answer = tuple(filter(None, [notice(refused)]))
    if answer:
        hub.settle()
        show(*answer)


def notice(text: object) -> str:
    """Format a line from the server itself. Nothing that people say begins like it."""
    return f"* {text}" if str(text) else ""


def rendered(event: Event) -> list[str]:
    """Format an event as lines for a person; none for what it knows already."""
    match event:
        case Said() | Told():
            return [_message(event)]
        case Unsaid(_, text, reason):
            return [notice(f"not said: {text}: {reason}")]
        case Entered(room, name, others, recent):
            company = f"with {_listed([it.name for it in others])}" if others else "alone"
            return [f"* you are {name} in {room}, {company}", *map(_message, recent)]
        case Parted():
            return []
        case Joined(room, name):
            return [f"* {name} joined {room}"]
        case Left(room, name, reason):
            return [f"* {name} left {room}" + (f" ({reason})" if reason else "")]
        case Gone(name, reason):
            return [f"* {name} left" + (f" ({reason})" if reason else "")]
        case Renamed(name, new_name):
            return [f"* {name} is now {new_name}"]
        case Ended(reason):
            return [f"* {reason}"]
        case Removed() | TopicSet() | ModeSet() | Invited() | AwaySet() | AccountSet():
            return [notice(_changed(event))]


def _changed(event: Removed | TopicSet | ModeSet | Invited | AwaySet | AccountSet) -> str:
    match event:
        case Removed(room, name, by, reason):
            return f"{by} removed {name} from {room}" + (f" ({reason})" if reason else "")
        case TopicSet(room, name, text):
            return (
                f"{name} set the topic of {room}: {text}" if text else f"{name} took the topic of {room} away"
            )
        case ModeSet(room, by, changes):
            made = " ".join(f"{'-+'[it.adds]}{it.mode} {it.argument}".rstrip() for it in changes)
            return f"{by or 'the chat'} changed {room}: {made}"
        case Invited(room, _, by):
            return f"{by} invites you into {room}: /join {room}"
        case AwaySet(name, text):
            return f"{name} is away: {text}" if text else f"{name} is back"
        case AccountSet(name, account):
            return f"{name} is logged in as {account}" if account else f"{name} is not logged in any more"


def _message(event: Said | Told) -> str:
    if isinstance(event, Told):
        return f"[{event.name} -> you] {event.text}"
    match event.kind:
        case "said":
            return f"<{event.name}> {event.text}"
        case "action":
            return f"** {event.name} {event.text}"
        case "notice":
            return f"-{event.name}- {event.text}"


def _act(hub: Hub, person: Person, line: str) -> Iterator[str]:
    if not line.startswith("/"):
        hub.say(person, _here(person), line)
        return
    command, _, argument = line.partition(" ")
    argument = argument.strip()
    match command.lower():
        case "/join":
            hub.move(person, argument)
        case "/nick":
            hub.rename(person, argument)
        case "/msg":
            name, _, text = argument.partition(" ")
            hub.tell(person, name, text)
        case "/who":
            room = _here(person)
            yield f"* in {room}: {_listed([it.name for it in hub.present(person, room)])}"
        case "/help":
            yield HELP
        case "/quit":
            hub.leave(person, "quit")
        case _:
            raise ChatRefused("unknown", "unknown command: /help lists them all")


def _here(person: Person) -> str:
    """Return the room of a person, who is in one at a time."""
    for room in person.rooms.values():
        return room.name
    raise ChatRefused("not_in_room", "you are in no room: /join ROOM")


async def _again(hub: Hub, person: Person, argument: str, show: Show) -> None:
    """Show the messages behind a number: which are kept, those, and how to go on if there are more."""
    try:
        if not (argument.isascii() and argument.isdigit() and len(argument) < 16):
            raise ChatRefused("no_number", "a number of a message is missing: /since 17")
        kept = await hub.since(person, _here(person), int(argument), SHOWN_AGAIN)
    except ChatRefused as refused:
        show(*filter(None, [notice(refused)]))
        return
    hub.settle()
    if not kept:
        show(f"* nothing is kept since {argument}")
        return
    more = [f"* /since {kept[-1].number} goes on"] if len(kept) == SHOWN_AGAIN else []
    show(f"* {kept[0].number} to {kept[-1].number} of {kept[0].room}:", *map(_message, kept), *more)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
