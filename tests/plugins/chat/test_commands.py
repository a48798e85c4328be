"""Commands of the text protocols: their order, while the history is slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.delivery import NotStored
from sockd_plugins.chat.hub.events import Said
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.rules import Rules
from sockd_plugins.chat.terminal.commands import Commands
from sockd_plugins.chat.terminal.forms import Mode
from sockd_plugins.chat.terminal.queue import MOST_WAITING, Queue
from tests.plugins.chat.turns import ShortTurns

RULES = Rules(
    room="lobby",
    max_members=100,
    max_rooms=10,
    name_length=24,
    message_length=400,
    history=3,
    rate=1e6,
    burst=1000,
)


class Slow:
    """Archive in memory that answers when it is told to."""

    def __init__(self) -> None:
        self.kept: list[Said] = []
        self.reading: list[Deferred[None]] = []
        self.storing: Deferred[None] | None = None

    async def latest(self, room: str, limit: int) -> tuple[int, Sequence[Said]]:
        return 0, ()

    async def keep(self, said: Sequence[Said]) -> None:
        if self.storing is not None:
            await self.storing
        self.kept += said

    async def search(self, text: str, room: str, limit: int, before: int | None = None) -> Sequence[Said]:
        return [said for said in reversed(self.kept) if text in said.text][:limit]

    async def redact(self, room: str, number: int) -> bool:
        self.kept = [replace(said, text="") if said.number == number else said for said in self.kept]
        return True

    def note_closed(self, room: str) -> None: ...

    def note_open(self, room: str) -> None: ...

    async def place(self, room: str, at: float) -> tuple[int, int]:
        return 0, 1

    async def since(self, room: str, number: int, limit: int) -> Sequence[Said]:
        self.reading.append(Deferred())
        await self.reading[-1]
        return [said for said in self.kept if said.number > number][:limit]

    async def before(self, room: str, number: int, limit: int) -> Sequence[Said]:
        return [said for said in self.kept if said.number < number][-limit:]


class Reader:
    """Person who reads lines."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.lines: list[str] = []
        self.left = False
        self.mode = Mode()
        person = hub.enter(name, self, room="lobby", echoes=True)
        commands = Commands(hub, None, person, self.mode, self.show, self.leave)
        self.queue = Queue(commands.execute, hub.note_failure)

    def deliver(self, batch: Batch) -> None:
        for event in batch.events:
            self.show(*self.mode.lines(event))

    def show(self, *lines: str) -> None:
        self.lines += lines

    def leave(self) -> None:
        self.left = True
        self.queue.clear()

    def types(self, *lines: str) -> None:
        for line in lines:
            if not self.queue.take(line):
                self.show("dropped")

    def reads(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


def a_reader() -> tuple[Slow, Reader]:
    archive = Slow()
    ann = Reader(Hub(RULES, ShortTurns(), Logger("test"), archive, now=lambda: 0.0), "ann")
    ann.types(*"12345")
    ann.reads()
    return archive, ann


def test_a_line_waits_until_the_history_has_answered_the_one_before() -> None:
    archive, ann = a_reader()
    ann.types("/since 1", "six", "/ping 1", "/quit", "not said")
    assert ann.reads() == []
    archive.reading[0].callback(None)
    assert ann.reads() == [
        "* 2 to 5 of lobby:",
        *("<ann> 2", "<ann> 3", "<ann> 4", "<ann> 5", "<ann> six"),
        "* pong 1 lobby 6",
    ]
    assert ann.left
    assert [said.text for said in archive.kept] == ["1", "2", "3", "4", "5", "six"]


def test_lines_that_wait_are_bounded() -> None:
    archive, ann = a_reader()
    ann.mode.numbers = True
    ann.types("/since 1", *["x"] * MOST_WAITING, "dropped")
    assert ann.reads() == ["dropped"]
    archive.reading[0].callback(None)
    assert len(archive.kept) == 5 + MOST_WAITING


def test_a_history_that_fails_is_told_and_the_next_line_follows() -> None:
    archive, ann = a_reader()
    ann.types("/since 1", "six")
    archive.reading[0].errback(OSError("broken"))
    assert ann.reads() == ["* the history cannot be read now", "<ann> six"]


def test_operators_and_others_use_what_the_hub_has() -> None:
    hub = Hub(RULES, ShortTurns(), Logger("test"), now=lambda: 0.0)
    ann, bob = Reader(hub, "ann"), Reader(hub, "bob")
    ann.types("/join den")
    bob.types("/join den")
    ann.reads()
    bob.reads()
    ann.types("/topic tea at 4", "/topic", "/mode +k hush", "/mode", "/mode +o", "/mode +v bob", "/whois bob")
    assert ann.reads() == [
        "* ann set the topic of den to: tea at 4",
        "* the topic of den is: tea at 4",
        "* ann changed den: +k hush",
        "* den has +n +t +k hush",
        "* a word is missing behind +o",
        "* ann changed den: +v bob",
        "* bob, in den, silent for 0 s",
    ]
    bob.reads()
    bob.types("/topic mine", "/away at lunch", "/away", "/nick rob")
    assert bob.reads() == [
        "* only operators of den may do that",
        *("* bob is away: at lunch", "* bob is back", "* bob is now rob"),
    ]
    ann.reads()
    ann.types("/remove rob spam", "/invite rob", "/topic -")
    assert ann.reads() == [
        "* ann removed rob from den (spam)",
        "* rob is invited",
        "* ann removed the topic of den",
    ]
    assert bob.reads() == ["* ann removed rob from den (spam)", "* ann invites you into den: /join den"]
    bob.types("hello?", "/who", "/join den")
    assert bob.reads() == [*["* you are in no room: /join ROOM"] * 2, "* you are rob in den, with ann"]
    bob.types("/join lobby", "/join den", "/join den hush")
    assert bob.reads() == [
        "* you are rob in lobby, alone",
        "* that room has a key: /join ROOM KEY",
        "* you are rob in den, with ann",
    ]


def test_the_echo_and_the_pong_wait_until_a_message_is_stored() -> None:
    archive, ann = a_reader()
    storing = archive.storing = Deferred()
    ann.types("six", "/ping 1")
    assert ann.reads() == []
    storing.callback(None)
    assert ann.reads() == ["<ann> six", "* pong 1 lobby 6"]


def test_a_message_that_is_not_stored_is_refused_with_a_code() -> None:
    archive, ann = a_reader()
    storing = archive.storing = Deferred()
    ann.mode.numbers = True
    ann.types("six", "/ping 1")
    storing.errback(NotStored("the disk is full"))
    assert ann.reads() == ["! not_said not said: six: the disk is full", "* pong 1 lobby 5"]


def test_messages_are_searched_and_removed_by_their_numbers() -> None:
    _, ann = a_reader()
    ann.types("/redact 4 wrong", "/redact", "/redact x", "/search 5", "/search absent")
    assert ann.reads() == [
        "* only operators of lobby may do that",
        *["* a number of a message is missing: /redact 17 REASON"] * 2,
        "* 5: <ann> 5",
        "* nothing is kept with these words: absent",
    ]
    ann.types("/join den", "oops", "/redact 1 a typo")
    assert ann.reads()[-1] == "* ann removed message 1 of den (a typo)"
    ann.mode.numbers = True
    ann.types("/search 5", "/redact")
    assert ann.reads() == [
        "5 1970-01-01T00:00:00.000Z <ann> 5",
        "! no_number a number of a message is missing: /redact 17 REASON",
    ]
