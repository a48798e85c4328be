"""Text form of the chat: the slash commands and the lines that TCP and datagram members have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sockd_plugins.chat.events import Ended, Entered, Event, Joined, Left, Renamed, Said, Told
from sockd_plugins.chat.hub import ChatRefused, Hub, Member

HELP = (
    "* /join ROOM, /nick NAME, /who, /msg NAME TEXT, /since NUMBER, /help, /quit;"
    " anything else is said to the room"
)

SHOWN_NAMES = 50
"""Names shown of a full room, so that the line stays readable."""


def act(hub: Hub, member: Member, line: str) -> Sequence[str]:
    """Execute what the member wrote; return the lines of the answer.

    What the member is owed by then has been delivered before there is an answer.
    """
    if not line or line.isspace():
        return ()
    try:
        answer = tuple(_act(hub, member, line))
    except ChatRefused as refused:
        answer = tuple(filter(None, [notice(refused)]))
    if answer:
        hub.settle(member)
    return answer


def notice(text: object) -> str:
    """Format a line from the server itself. Names have no `*`, so no member can imitate it."""
    return f"* {text}" if str(text) else ""


def rendered(event: Event) -> list[str]:
    """Format an event as lines for a member."""
    match event:
        case Said(_, name, text):
            return [f"<{name}> {text}"]
        case Told(name, _, text):
            return [f"[{name} -> you] {text}"]
        case Entered(room, name, others, recent):
            company = f"with {_listed(others)}" if others else "alone"
            return [f"* you are {name} in {room}, {company}", *(f"<{it.name}> {it.text}" for it in recent)]
        case Joined(room, name):
            return [f"* {name} joined {room}"]
        case Left(room, name, reason):
            return [f"* {name} left {room}" + (f" ({reason})" if reason else "")]
        case Renamed(_, name, new_name):
            return [f"* {name} is now {new_name}"]
        case Ended(reason):
            return [f"* {reason}"]


def _act(hub: Hub, member: Member, line: str) -> Iterator[str]:
    if not line.startswith("/"):
        hub.say(member, line)
        return
    command, _, argument = line.partition(" ")
    argument = argument.strip()
    match command.lower():
        case "/join":
            hub.join(member, argument)
        case "/nick":
            hub.rename(member, argument)
        case "/msg":
            name, _, text = argument.partition(" ")
            hub.tell(member, name, text)
        case "/who":
            room, names = hub.company(member)
            yield f"* in {room}: {_listed(names)}"
        case "/since":
            yield from _again(hub, member, argument)
        case "/help":
            yield HELP
        case "/quit":
            hub.leave(member, "quit")
        case _:
            raise ChatRefused("unknown command: /help lists them all")


def _again(hub: Hub, member: Member, argument: str) -> Iterator[str]:
    """Yield the messages behind a number; the first line tells which are kept."""
    if not (argument.isascii() and argument.isdigit() and len(argument) < 16):
        raise ChatRefused("a number of a message is missing: /since 17")
    kept = hub.since(member, int(argument))
    if not kept:
        yield f"* nothing is kept since {argument}"
        return
    yield f"* {kept[0].number} to {kept[-1].number} of {kept[0].room}:"
    for said in kept:
        yield from rendered(said)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
