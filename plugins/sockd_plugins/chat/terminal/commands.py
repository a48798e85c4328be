"""Commands of the text protocols: what a person types in the chat.

hello                 said to everybody in the room; `//hello` says `/hello`
/say TEXT             the same, whatever the text begins with
/me TEXT              an action: ** ann waves
/notice TEXT          a message by a program: -bot- done; programs never answer it
/msg NAME TEXT        to one person, wherever it is
/join ROOM [KEY]      goes to another room, which is created if it does not exist
/who, /rooms          list the people in the room, and the rooms
/whois NAME           tells what there is to know of a person
/topic [TEXT]         shows or sets the topic of the room; `/topic -` takes it away
/away [TEXT]          tells others that the person is away, or back
/nick NAME            changes the name
/login NAME PASSWORD  proves the account that the name belongs to, and takes the name
/invite NAME          for operators, as /remove NAME [REASON] and /mode +o NAME are
/since NUMBER         shows what was said behind a message
/again 17-19          shows these messages of the room
/search WORDS         shows the last messages of the room that have all the words
/redact 17 [REASON]   removes the text of a message, for operators and for whoever has said it
/numbers on           shows numbers and times of messages, and codes of refusals, from now on
/echo on              shows one's own messages too, each once it is stored: the acknowledgement
/key KEY              lets a later connection with the same key take the name over, after a break
/ping TOKEN           * pong TOKEN lobby 19: all before it is answered, and 19 is the last message
/help, /quit
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.chat.hub.charter import KEY, LIMIT, LISTS, RANKS
from sockd_plugins.chat.hub.events import Change
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.terminal.forms import Mode, changed, listed, notice
from sockd_plugins.chat.terminal.handover import choose_key, take_over
from sockd_plugins.chat.terminal.queue import Work
from sockd_plugins.users.tries import NotTried

HELP = (
    "* /join ROOM, /rooms, /who, /whois NAME, /msg NAME TEXT, /me TEXT, /topic TEXT, /away TEXT, /nick NAME,"
    " /login NAME PASSWORD, /since NUMBER, /again 17-19, /search WORDS, /numbers on, /echo on, /quit;"
    " operators: /invite NAME, /remove NAME, /redact 17, /mode +o NAME; anything else is said to the room"
)

SHOWN_AGAIN = 200
"""Messages that one command shows at most."""

SHOWN_FOUND = 20
"""Messages that one search shows at most."""

SHOWN_ROOMS = 50

TOKEN_LENGTH = 32

_RANGE = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")

Show = Callable[..., None]
"""Shows lines to a person."""


class Commands:
    """Commands of one person.

    Args:
        hub: the chat.
        accounts: those of the chat; None if there are none.
        person: who types.
        mode: form of the lines that it is shown.
        show: shows it lines.
        left: called when it has left the chat.
    """

    def __init__(
        self,
        hub: Hub,
        accounts: Accounts | None,
        person: Person,
        mode: Mode,
        show: Show,
        left: Callable[[], object],
    ) -> None:
        self._hub = hub
        self._accounts = accounts
        self._person = person
        self._mode = mode
        self._show = show
        self._left = left

    def execute(self, line: str) -> Work | None:
        """Execute a line; return what is left to be awaited. A blank one is ignored."""
        if not line or line.isspace():
            return None
        command, _, argument = line.partition(" ")
        match command.lower():
            case "/since" | "/again":
                return self._again(command.lower(), argument.strip())
            case "/login":
                return self._log_in(argument)
            case "/search":
                return self._search(argument.strip())
            case "/redact":
                return self._redact(argument.strip())
        try:
            answer = tuple(self._answer(line))
        except ChatRefused as refused:
            answer = (self._mode.refusal(refused),)
        if any(answer):
            self._hub.settle()  # what the person is owed by now comes before the answer
            self._show(*filter(None, answer))
        return None

    def _answer(self, line: str) -> Iterator[str]:
        """Do what a line asks for, and yield the lines of the answer."""
        hub, person = self._hub, self._person
        command, _, argument = line.partition(" ")
        argument = argument.strip()
        match command.lower() if line.startswith("/") and not line.startswith("//") else "":
            case "":
                hub.say(person, here(person), line.removeprefix("/") if line.startswith("//") else line)
            case "/say":
                hub.say(person, here(person), argument)
            case "/me":
                hub.say(person, here(person), argument, "action")
            case "/notice":
                hub.say(person, here(person), argument, "notice")
            case "/join":
                room, _, key = argument.partition(" ")
                hub.move(person, room, key.strip())
            case "/nick":
                take_over(hub, argument, self._mode)
                hub.rename(person, argument)
            case "/key":
                yield choose_key(self._mode, argument)
            case "/msg":
                name, _, text = argument.partition(" ")
                told = hub.tell(person, name, text)
                if person.echoes:
                    yield self._mode.own(told)
            case "/who":
                room = here(person)
                yield f"* in {room}: {listed([it.name for it in hub.present(person, room)])}"
            case "/rooms":
                yield from self._rooms()
            case "/whois":
                yield from self._about(argument)
            case "/topic":
                yield self._topic(argument)
            case "/away":
                hub.set_away(person, argument)
            case "/invite":
                yield notice(f"{hub.invite(person, here(person), argument)} is invited")
            case "/remove" | "/kick":
                name, _, reason = argument.partition(" ")
                hub.remove(person, here(person), name, reason.strip())
            case "/mode":
                yield self._modes(argument)
            case "/numbers" | "/echo":
                yield choose(self._mode, person, command.lower(), argument)
            case "/ping":
                hub.mark(person, argument[:TOKEN_LENGTH].replace(" ", "_"), next(iter(person.rooms), ""))
            case "/help":
                yield HELP
            case "/quit":
                hub.leave(person, "quit")
                self._left()
            case _:
                raise ChatRefused("unknown", "unknown command: /help lists them all")

    def _rooms(self) -> Iterator[str]:
        self._hub.turn(self._person)
        rooms = self._hub.rooms(self._person)
        for room in rooms[:SHOWN_ROOMS]:
            topic = f"; {room.topic.text}" if room.topic else ""
            yield f"* room {room.name}: {room.people} here{topic}"
        if len(rooms) > SHOWN_ROOMS:
            yield f"* and {len(rooms) - SHOWN_ROOMS} more"

    def _about(self, name: str) -> Iterator[str]:
        about = self._hub.whois(self._person, name)
        account = f", logged in as {about.account}" if about.account else ""
        host = f", from {about.host}" if about.host != "-" else ""
        rooms = listed([room for room, _ in about.rooms])
        yield f"* {about.name}{account}{host}, in {rooms or 'no room'}, silent for {about.idle:.0f} s"
        if about.away:
            yield f"* {about.name} is away: {about.away}"

    def _topic(self, text: str) -> str:
        name = here(self._person)
        if text:
            self._hub.set_topic(self._person, name, "" if text == "-" else text)
            return ""
        self._hub.turn(self._person)
        topic = self._person.rooms[fold(name)].topic
        return notice(f"the topic of {name} is: {topic.text}" if topic else f"{name} has no topic")

    def _modes(self, argument: str) -> str:
        """Change modes of the room, or show them."""
        name = here(self._person)
        if argument:
            self._hub.set_modes(self._person, name, tuple(_changes(argument)))
            return ""
        self._hub.turn(self._person)
        return notice(f"{name} has {changed(self._person.rooms[fold(name)].charter.shown(to_member=True))}")

    async def _log_in(self, argument: str) -> None:
        """Prove an account; take the name that belongs to it."""
        try:
            self._hub.turn(self._person)
            account = await proved(self._accounts, argument, self._person.host)
            self._hub.log_in(self._person, account)
            name = argument.split()[0]
            if name != self._person.name:
                self._hub.rename(self._person, name)
        except ChatRefused as refused:
            self._show(*filter(None, (self._mode.refusal(refused),)))

    async def _again(self, command: str, argument: str) -> None:
        """Show messages once more: which are kept, those, and how to go on if there are more."""
        try:
            first, last = _range(command, argument)
            room, limit = here(self._person), min(SHOWN_AGAIN, last - first + 1)
            kept = [
                said
                for said in await self._hub.since(self._person, room, first - 1, limit)
                if said.number <= last
            ]
            if not kept:
                raise ChatRefused("not_kept", f"nothing is kept since {first - 1}")
        except ChatRefused as refused:
            self._show(*filter(None, (self._mode.refusal(refused),)))
            return
        self._hub.settle()
        about = [] if self._mode.numbers else [f"* {kept[0].number} to {kept[-1].number} of {kept[0].room}:"]
        more = [f"* /since {kept[-1].number} goes on"] if len(kept) == SHOWN_AGAIN else []
        self._show(*about, *map(self._mode.message, kept), *more)

    async def _search(self, words: str) -> None:
        """Show the last messages that have all the words, with their numbers."""
        try:
            found = await self._hub.record.search(self._person, here(self._person), words, SHOWN_FOUND)
        except ChatRefused as refused:
            self._show(*filter(None, (self._mode.refusal(refused),)))
            return
        self._hub.settle()
        lines = [self._mode.message(said) for said in reversed(found)]
        if not self._mode.numbers:
            lines = [f"* {said.number}: {line}" for said, line in zip(reversed(found), lines, strict=True)]
        self._show(*(lines or [f"* nothing is kept with these words: {words}"]))

    async def _redact(self, argument: str) -> None:
        """Remove the text of a message."""
        number, _, reason = argument.partition(" ")
        try:
            if not (number.isascii() and number.isdigit() and len(number) < 16):
                raise ChatRefused("no_number", "a number of a message is missing: /redact 17 REASON")
            await self._hub.record.redact(self._person, here(self._person), int(number), reason.strip())
        except ChatRefused as refused:
            self._show(*filter(None, (self._mode.refusal(refused),)))


async def proved(accounts: Accounts | None, argument: str, host: str) -> str:
    """Return the account that a name and a password prove; raise `ChatRefused` if they do not."""
    name, _, password = argument.strip().partition(" ")
    if accounts is None:
        raise ChatRefused("no_accounts", "there are no accounts here: any free name is yours")
    try:
        if not await accounts.check(name, password, host):
            raise ChatRefused("wrong_password", "wrong account or password")
    except NotTried as refused:
        raise ChatRefused("not_tried", str(refused)) from None
    return fold(name)


def choose(mode: Mode, person: Person | None, command: str, argument: str) -> str:
    """Switch numbers or the echo on or off; return the answer."""
    if argument not in ("on", "off"):
        raise ChatRefused("no_choice", f"on or off is missing: {command} on")
    on = argument == "on"
    if command == "/numbers":
        mode.numbers = on
        return notice(f"numbers are {argument}")
    mode.echo = on
    if person is not None:
        person.echoes = on
    return notice(f"echo is {argument}")


def here(person: Person) -> str:
    """Return the room of a person, who is in one at a time."""
    for room in person.rooms.values():
        return room.name
    raise ChatRefused("not_in_room", "you are in no room: /join ROOM")


def _range(command: str, argument: str) -> tuple[int, int]:
    """Return the first and the last number that a person asks for."""
    found = _RANGE.fullmatch(argument)
    if found is None or not argument.isascii() or (found[2] and command == "/since"):
        example = "/since 17" if command == "/since" else "/again 17-19"
        raise ChatRefused("no_number", f"a number of a message is missing: {example}")
    first = int(found[1])
    if command == "/since":
        return first + 1, first + SHOWN_AGAIN
    return max(1, first), max(1, int(found[2] or first))


def _changes(argument: str) -> Iterator[Change]:
    """Yield the changes of modes that words mean, as IRC has them: `+ov ann bob`."""
    letters, *words = argument.split()
    adds = True
    for letter in letters:
        if letter in "+-":
            adds = letter == "+"
            continue
        takes = letter in RANKS or letter in LISTS or letter == KEY or (letter == LIMIT and adds)
        if takes and not words and (adds or letter != KEY):
            raise ChatRefused("bad_mode", f"a word is missing behind {'-+'[adds]}{letter}")
        yield Change(adds, letter, words.pop(0) if takes and words else "")
