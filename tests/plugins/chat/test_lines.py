import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger

from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.register import Keeper, no_keeper
from sockd_plugins.chat.hub.rules import Rules
from sockd_plugins.chat.terminal.commands import HELP
from sockd_plugins.chat.terminal.entrance import NAME_TRIES
from sockd_plugins.chat.terminal.lines import (
    LINE_LENGTH,
    MAX_STALL,
    MAX_WAITING,
    MAX_WAITING_BYTES,
    ChatLines,
)
from tests.plugins.chat.turns import ShortTurns


class Person:
    """Peer with a terminal."""

    def __init__(
        self,
        hub: Hub,
        name: str = "",
        transport: type[Any] = StringTransport,
        clock: Clock | None = None,
        accounts: Any = None,
    ) -> None:
        self.protocol = ChatLines(hub, clock or Clock(), accounts)
        self.transport = transport()
        connect(self.protocol, self.transport)
        if name:
            self.types(name)
            self.reads()

    def types(self, *lines: str) -> None:
        for line in lines:
            self.protocol.dataReceived(line.encode() + b"\n")

    def reads(self) -> list[str]:
        text: str = self.transport.value().decode(errors="replace")
        self.transport.clear()
        assert text.endswith("\n") or not text
        return text.split("\n")[:-1]

    def hangs_up(self) -> None:
        self.protocol.connectionLost()


def connect(protocol: Any, transport: Any) -> None:
    protocol.makeConnection(transport)


class Narrow(StringTransport):
    """Transport that takes one write, and then no more before its producer is resumed."""

    def write(self, data: bytes) -> None:
        self.io.write(data)
        assert self.producer is not None
        self.producer.pauseProducing()


class Counting(StringTransport):
    """Transport that counts the calls."""

    writes = 0

    def write(self, data: bytes) -> None:
        self.io.write(data)
        self.writes += 1


def a_hub(
    history: int = 20,
    rate: float = 1e6,
    burst: int = 1000,
    clock: Clock | None = None,
    keeper: Keeper = no_keeper,
) -> Hub:
    rules = Rules(
        room="lobby",
        max_members=100,
        max_rooms=10,
        name_length=24,
        message_length=400,
        history=history,
        rate=rate,
        burst=burst,
    )
    return Hub(rules, clock or ShortTurns(), Logger("test"), keeper=keeper)


@pytest.fixture
def hub() -> Hub:
    return a_hub()


def a_pair(hub: Hub) -> tuple[Person, Person]:
    ann, bob = Person(hub, "ann"), Person(hub, "bob")
    ann.reads()
    return ann, bob


def test_the_first_line_is_the_name_and_the_room_is_shown(hub: Hub) -> None:
    bob = Person(hub, "bob")
    bob.types("anybody there?")
    ann = Person(hub)
    assert ann.reads() == ["* welcome; your name?"]
    ann.types("ann")
    assert ann.reads() == ["* you are ann in lobby, with bob", "<bob> anybody there?"]
    assert bob.reads() == ["* ann joined lobby"]


def test_the_first_one_is_alone(hub: Hub) -> None:
    ann = Person(hub)
    ann.types("/nick ann")
    assert ann.reads()[1:] == ["* you are ann in lobby, alone"]


def test_a_line_is_said_to_the_others_and_not_repeated_to_its_speaker(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    ann.types("hello", "", "   ", "żółć")
    assert (ann.reads(), bob.reads()) == ([], ["<ann> hello", "<ann> żółć"])


def test_the_commands_do_what_help_says(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    ann.types("/help")
    (help_line,) = ann.reads()
    assert all(command in help_line for command in ("/join", "/nick", "/who", "/msg", "/since", "/quit"))
    ann.types("/msg bob  psst")
    assert bob.reads() == ["[ann -> you]  psst"]
    ann.types("/NICK anna")
    assert (ann.reads(), bob.reads()) == (["* ann is now anna"], ["* ann is now anna"])
    ann.types("/join garden", "/who")
    assert ann.reads() == ["* you are anna in garden, alone", "* in garden: anna"]
    assert bob.reads() == ["* anna left lobby"]
    ann.types("/quit", "not said")
    assert ann.transport.disconnecting
    assert hub.find("anna") is None
    assert ann.reads() == []


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("/dance", "* unknown command: /help lists them all"),
        ("/", "* unknown command: /help lists them all"),
        ("/etc/passwd \x1b", "* unknown command: /help lists them all"),
        ("/msg carl hi", "* nobody here has that name"),
        ("/msg bob", "* there is no text to send"),
        ("/msg", "* there is no text to send"),
        ("/nick BOB", "* the name BOB is taken"),
        ("/nick", "* a name is 1 to 24 of A-Z a-z 0-9 _ . -"),
        ("/join a?b", "* a name is 1 to 24 of A-Z a-z 0-9 _ . -"),
        ("/join Lobby", "* you are in lobby already"),
        ("x" * 401, "* too long: at most 400 bytes, not 401"),
    ],
)
def test_a_refused_command_is_answered_with_one_line(hub: Hub, line: str, answer: str) -> None:
    ann, bob = a_pair(hub)
    ann.types(line)
    assert (ann.reads(), bob.reads()) == ([answer], [])
    assert not ann.transport.disconnecting


def test_a_name_that_is_no_good_is_asked_again_and_at_last_closes(hub: Hub) -> None:
    Person(hub, "ann")
    eve = Person(hub)
    eve.reads()
    eve.types("ANN")
    assert eve.reads() == ["* the name ANN is taken", "* your name?"]
    for _ in range(NAME_TRIES - 2):
        eve.types("ann\x1b[2J")
        assert eve.reads() == ["* a name is 1 to 24 of A-Z a-z 0-9 _ . -", "* your name?"]
    eve.types("Ann")
    assert eve.reads() == ["* the name Ann is taken", "* that was the last try"]
    assert eve.transport.disconnecting
    eve.types("eve")
    assert hub.find("eve") is None


def test_a_blank_line_is_no_try_at_a_name(hub: Hub) -> None:
    ann = Person(hub)
    ann.reads()
    ann.types(*[" "] * 100, "ann")
    assert ann.reads() == ["* you are ann in lobby, alone"]


def test_a_newcomer_without_a_name_may_quit(hub: Hub) -> None:
    eve = Person(hub)
    eve.types("/quit")
    assert eve.transport.disconnecting


def test_a_name_is_free_as_soon_as_its_connection_is_gone(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    ann.hangs_up()
    assert bob.reads() == ["* ann left (disconnected)"]
    Person(hub, "ann")
    assert hub.find("ann") is not None


def test_a_connection_that_never_said_a_name_goes_without_a_word(hub: Hub) -> None:
    bob = Person(hub, "bob")
    Person(hub).hangs_up()
    assert bob.reads() == []


def test_control_characters_are_written_out_for_the_others(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    ann.protocol.dataReceived(b"\x1b[2J\x07\xff\xc2\x9b\r\n")
    ann.types("a\u202eb\u2028* bob left lobby\rc")
    assert bob.reads() == [r"<ann> \x1b[2J\x07\xff\x9b", r"<ann> a\u202eb\u2028* bob left lobby\x0dc"]


def test_a_giant_line_ends_the_connection_with_one_line(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    ann.types("before")
    for _ in range(100):
        ann.protocol.dataReceived(b"x" * 1000)
    assert ann.reads() == [f"* a line has at most {LINE_LENGTH} bytes"]
    assert ann.transport.disconnecting
    ann.hangs_up()
    assert bob.reads() == ["<ann> before", "* ann left (disconnected)"]


@given(st.lists(st.text(max_size=9) | st.sampled_from(["/who", "/nick carl", "/join den", "/quit"])))
def test_lines_mean_the_same_whole_and_byte_by_byte(lines: list[str]) -> None:
    data = "".join(f"{line}\r\n" for line in lines).encode()
    seen = []
    for size in (1, 1_000_000):
        ann, bob = a_pair(a_hub())
        for start in range(0, len(data), size):
            ann.protocol.dataReceived(data[start : start + size])
        seen.append((ann.reads(), bob.reads(), ann.transport.disconnecting))
    assert seen[0] == seen[1]


def test_too_fast_is_said_once(hub: Hub) -> None:
    hub = a_hub(rate=10, burst=3)
    ann, bob = a_pair(hub)
    ann.types(*["spam"] * 100)
    assert ann.reads() == ["* too fast: what goes beyond 10 a second is dropped"]
    assert bob.reads() == ["<ann> spam"] * 3


def test_a_member_that_reads_again_in_time_has_missed_nothing(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    bob.transport.producer.pauseProducing()
    ann.types(*map(str, range(MAX_WAITING)))
    assert bob.reads() == []
    bob.transport.producer.resumeProducing()
    assert bob.reads() == [f"<ann> {number}" for number in range(MAX_WAITING)]
    ann.types("on it goes")
    assert bob.reads() == ["<ann> on it goes"]


def test_a_member_that_is_paused_again_gets_the_rest_later_and_in_order(hub: Hub) -> None:
    bob = Person(hub, "bob", Narrow)
    bob.transport.producer.resumeProducing()
    ann = Person(hub, "ann")
    ann.types("one", "two")
    assert bob.reads() == ["* you are bob in lobby, alone"]
    bob.transport.producer.resumeProducing()
    ann.types("three", "four")
    assert bob.reads() == ["* ann joined lobby", "<ann> one", "<ann> two"]
    bob.transport.producer.resumeProducing()
    assert bob.reads() == ["<ann> three", "<ann> four"]


def test_what_is_said_in_a_turn_is_one_write_for_each_member() -> None:
    clock = Clock()
    hub = a_hub(clock=clock)
    ann, bob, carl = (Person(hub, name, Counting) for name in ("ann", "bob", "carl"))
    clock.advance(0)
    for person in (ann, bob, carl):
        person.reads()
        person.transport.writes = 0
    carl.protocol.dataReceived(b"\xff\xfb\x01")  # speaks telnet
    carl.transport.clear()
    ann.types("one", "two", "three")
    bob.types("four")
    clock.advance(0)
    assert bob.reads() == ["<ann> one", "<ann> two", "<ann> three"]
    assert ann.reads() == ["<bob> four"]
    assert bob.transport.writes == ann.transport.writes == 1
    assert carl.reads() == [f"<ann> {word}\r" for word in ("one", "two", "three")] + ["<bob> four\r"]


@pytest.mark.parametrize(
    ("text", "fits"), [("x", MAX_WAITING), ("x" * 400, MAX_WAITING_BYTES // len("<ann> " + "x" * 400 + "\n"))]
)
def test_a_member_that_does_not_read_delays_nobody_and_is_told_what_was_skipped(
    hub: Hub, text: str, fits: int
) -> None:
    clock = Clock()
    ann, bob, carl = (Person(hub, name, clock=clock) for name in ("ann", "bob", "carl"))
    for person in (ann, bob, carl):
        person.reads()
    bob.transport.producer.pauseProducing()
    ann.types(*[text] * fits)
    assert len(carl.reads()) == fits
    ann.types("skipped", "skipped, too")
    assert carl.reads() == ["<ann> skipped", "<ann> skipped, too"]
    bob.transport.producer.resumeProducing()
    assert bob.reads() == [*[f"<ann> {text}"] * fits, f"* 2 skipped; /since {fits} shows those that are kept"]
    assert not clock.getDelayedCalls()
    bob.types(f"/since {fits}")
    assert bob.reads() == [f"* {fits + 1} to {fits + 2} of lobby:", "<ann> skipped", "<ann> skipped, too"]
    ann.types("goes on")
    assert bob.reads() == ["<ann> goes on"]


def test_a_member_that_never_reads_again_is_out(hub: Hub) -> None:
    clock = Clock()
    ann, bob = Person(hub, "ann"), Person(hub, "bob", clock=clock)
    ann.reads()
    bob.transport.producer.pauseProducing()
    ann.types(*["x"] * (MAX_WAITING + 1))
    clock.advance(MAX_STALL - 1)
    assert hub.find("bob") is not None
    clock.advance(1)
    assert ann.reads() == ["* bob left (too slow)"]
    assert bob.reads() == ["* too slow: you have read nothing for 60 seconds"]
    assert bob.transport.disconnecting
    assert hub.find("bob") is None


def test_a_newcomer_that_does_not_read_the_history_is_told_that_it_was_skipped() -> None:
    hub = a_hub(history=200)
    clock = Clock()
    ann = Person(hub, "ann")
    ann.types(*["x" * 400] * 200)
    bob = Person(hub, clock=clock)
    bob.reads()
    bob.transport.producer.pauseProducing()
    bob.types("bob", "said")
    assert ann.reads() == ["* bob joined lobby", "<bob> said"]
    bob.transport.producer.resumeProducing()
    assert bob.reads() == ["* 1 skipped; /since 0 shows those that are kept"]
    bob.transport.producer.pauseProducing()
    ann.types(*["x"] * (MAX_WAITING + 1))
    bob.hangs_up()
    assert not clock.getDelayedCalls()


def test_messages_are_numbered_and_shown_again_as_far_as_they_are_kept() -> None:
    hub = a_hub(history=3)
    ann, bob = Person(hub, "ann"), Person(hub, "bob")
    ann.types("1", "2", "3", "4")
    bob.reads()
    bob.types("/since 3", "/since 0", "/since 4", "/since 5", "/since x", "/since")
    assert bob.reads() == [
        *("* 4 to 4 of lobby:", "<ann> 4"),
        *("* 2 to 4 of lobby:", "<ann> 2", "<ann> 3", "<ann> 4"),
        "* nothing is kept since 4",
        "* the last message in lobby has the number 4",
        *["* a number of a message is missing: /since 17"] * 2,
    ]


def test_a_newcomer_that_was_too_slow_gives_its_name_back() -> None:
    hub = a_hub(history=200)
    ann = Person(hub, "ann")
    ann.types(*["x" * 400] * 200)
    bob = Person(hub)
    bob.transport.producer.pauseProducing()
    bob.types("bob")
    bob.hangs_up()
    assert ann.reads() == ["* bob joined lobby", "* bob left (disconnected)"]


def test_a_closing_connection_leaves_no_producer_that_would_keep_it_open(hub: Hub) -> None:
    ann, _ = a_pair(hub)
    assert (ann.transport.producer, ann.transport.streaming) == (ann.protocol, True)
    ann.types("/quit")
    assert ann.transport.producer is None


def test_a_crowd_is_listed_in_one_bounded_line() -> None:
    hub = a_hub()
    for number in range(99):
        Person(hub, f"x{number}")
    ann = Person(hub)
    ann.reads()
    ann.types("ann", "/who")
    entered, listed = ann.reads()
    assert entered.endswith("x48, x49 and 49 more")
    assert listed.endswith("x48, x49 and 50 more")


def test_the_end_of_the_chat_is_told_and_closes(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    late = Person(hub)
    late.reads()
    hub.close("the server is closing")
    late.types("late")
    for person in (ann, bob):
        assert person.reads() == ["* the server is closing"]
        assert person.transport.disconnecting
    assert late.reads() == ["* the server is closing", "* your name?"]


def test_a_telnet_programs_negotiation_is_answered_and_shown_to_nobody(hub: Hub) -> None:
    ann, pat = Person(hub, "ann"), Person(hub)
    pat.reads()
    pat.protocol.dataReceived(b"\xff\xfb\x1f\xff\xfd\x03pat\r\n")
    assert pat.transport.value() == b"\xff\xfe\x1f\xff\xfc\x03* you are pat in lobby, with ann\r\n"
    pat.protocol.dataReceived(b"\xff\xfa\x1f\0\x50\0\x18\xff\xf0hello there\r\0")
    assert ann.reads() == ["* pat joined lobby", "<pat> hello there"]


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def untimed(lines: list[str]) -> list[str]:
    """Replace each time, which is the present one."""
    return [re.sub(TIME, "TIME", line) for line in lines]


def test_numbers_and_codes_are_shown_to_those_who_ask(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    bob.types("/numbers on")
    ann.types("hello", "/me waves", "/notice done", "/msg bob psst")
    bob.types("/msg carl hi", "/dance", "/numbers off")
    ann.types("bye")
    assert untimed(bob.reads()) == [
        "* numbers are on",
        "1 TIME <ann> hello",
        "2 TIME ** ann waves",
        "3 TIME -ann- done",
        "- TIME [ann -> you] psst",
        "! no_such_name nobody here has that name",
        "! unknown unknown command: /help lists them all",
        "* numbers are off",
        "<ann> bye",
    ]
    assert ann.reads() == []


def test_the_echo_is_shown_to_those_who_ask(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    ann.types("/echo on", "hello", "/msg bob psst", "/echo off", "silence", "/echo", "/echo maybe")
    assert ann.reads() == [
        "* echo is on",
        "<ann> hello",
        "[you -> bob] psst",
        "* echo is off",
        *["* on or off is missing: /echo on"] * 2,
    ]
    assert bob.reads() == ["<ann> hello", "[ann -> you] psst", "<ann> silence"]


def test_a_program_chooses_its_form_and_its_room_before_its_name(hub: Hub) -> None:
    ann = Person(hub, "ann")
    bot = Person(hub)
    bot.types("/numbers on", "/echo on", "/join garden", "/help", "ANN", "bot", "planted")
    assert untimed(bot.reads()) == [
        "* welcome; your name?",
        "* numbers are on",
        "* echo is on",
        HELP,
        "! taken the name ANN is taken",
        "* your name?",
        "* you are bot in garden, alone",
        "1 TIME <bot> planted",
    ]
    assert ann.reads() == []


def test_a_room_that_cannot_be_had_leaves_nobody_behind(hub: Hub) -> None:
    bot = Person(hub)
    bot.types("/join no?way", "bot", "/join den", "bot")
    assert bot.reads()[1:] == [
        "* a name is 1 to 24 of A-Z a-z 0-9 _ . -",
        "* your name?",
        "* you are bot in den, alone",
    ]


def test_a_pong_follows_everything_before_it(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    ann.types("/echo on", "hello", "/join den", "/ping 7", "/ping " + "x y" * 20)
    assert ann.reads() == [
        "* echo is on",
        "<ann> hello",
        "* you are ann in den, alone",
        "* pong 7 den 0",
        f"* pong {('x_y' * 20)[:32]} den 0",
    ]
    bob.types("/ping")
    assert bob.reads()[-1] == "* pong  lobby 1"


def test_the_rooms_are_listed(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    bob.types("/join den")
    ann.types("/rooms")
    assert ann.reads()[1:] == ["* room lobby: 1 here", "* room den: 1 here"]


def test_a_message_may_begin_with_a_slash(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    ann.types("//etc/passwd is a path", "/me", "/me  ")
    assert bob.reads() == ["<ann> /etc/passwd is a path"]
    assert ann.reads() == ["* there is no text to send"] * 2


def test_single_messages_are_shown_again(hub: Hub) -> None:
    ann, bob = a_pair(hub)
    ann.types(*"12345")
    bob.reads()
    bob.types("/again 2-3", "/again 5", "/again 6-9", "/again 7-9", "/again 3-2", "/again", "/again x-y")
    assert bob.reads() == [
        *("* 2 to 3 of lobby:", "<ann> 2", "<ann> 3"),
        *("* 5 to 5 of lobby:", "<ann> 5"),
        "* nothing is kept since 5",
        "* the last message in lobby has the number 5",
        "* nothing is kept since 2",
        *["* a number of a message is missing: /again 17-19"] * 2,
    ]
    bob.types("/numbers on", "/again 4-999999999999999", "/again 6")
    assert untimed(bob.reads()) == [
        "* numbers are on",
        *("4 TIME <ann> 4", "5 TIME <ann> 5"),
        "! not_kept nothing is kept since 5",
    ]


class OneAccount:
    """Accounts of which there is one; a password is checked when `answer` is called back."""

    def __init__(self) -> None:
        self.answer: Deferred[None] = Deferred()
        self.sources: list[str] = []

    def keeper(self, name: str) -> str:
        return "ann" if name.lower() == "ann" else ""

    async def check(self, name: str, password: str, source: str) -> bool:
        self.sources.append(source)
        await self.answer
        return (name, password) == ("Ann", "secret word")


def a_member(accounts: Any) -> tuple[Person, Person]:
    hub = a_hub(keeper=accounts.keeper)
    bob, ann = Person(hub, "bob"), Person(hub, accounts=accounts)
    ann.reads()
    return bob, ann


def test_a_name_with_an_account_is_for_those_who_log_in_and_lines_wait_for_that() -> None:
    accounts = OneAccount()
    bob, ann = a_member(accounts)
    ann.types("Ann")
    refusal = "* the name Ann belongs to the account ann: log in first: /login NAME PASSWORD"
    assert ann.reads() == [refusal, "* your name?"]
    ann.types("/login Ann secret word", "hello")
    assert (ann.reads(), bob.reads()) == ([], [])
    accounts.answer.callback(None)
    assert ann.reads() == ["* you are Ann in lobby, with bob"]
    assert bob.reads() == ["* Ann joined lobby", "<Ann> hello"]
    assert accounts.sources == ["192.168.1.1"]


def test_a_wrong_password_is_a_try_at_a_name() -> None:
    accounts = OneAccount()
    accounts.answer.callback(None)
    _, ann = a_member(accounts)
    ann.types("/numbers on", *["/login Ann wrong"] * NAME_TRIES)
    assert ann.reads()[-2:] == ["! wrong_password wrong account or password", "* that was the last try"]
    assert ann.transport.disconnecting


def test_who_hangs_up_while_its_password_is_checked_does_not_come_in() -> None:
    accounts = OneAccount()
    bob, ann = a_member(accounts)
    ann.types("/login Ann secret word")
    ann.hangs_up()
    accounts.answer.callback(None)
    assert bob.reads() == []


def test_a_guest_logs_in_and_takes_the_name() -> None:
    accounts = OneAccount()
    bob, ann = a_member(accounts)
    ann.types("annie", "/login Ann secret word")
    accounts.answer.callback(None)
    assert ann.reads()[1:] == ["* annie is logged in as ann", "* annie is now Ann"]
    assert bob.reads() == ["* annie joined lobby", "* annie is logged in as ann", "* annie is now Ann"]


def test_without_accounts_nobody_logs_in(hub: Hub) -> None:
    eve = Person(hub)
    eve.types("/login eve x", "eve", "/login eve x")
    refusal = "* there are no accounts here: any free name is yours"
    assert [line for line in eve.reads() if "accounts" in line] == [refusal] * 2


KEY = "0123456789abcdef"


def test_a_later_connection_with_the_same_key_takes_the_name_over(hub: Hub) -> None:
    bob, dead, late = Person(hub, "bob"), Person(hub), Person(hub)
    dead.types(f"/key {KEY}", "ann")
    late.types(f"/key {KEY}", "ANN")
    assert dead.reads()[-1] == "* you are connected again elsewhere"
    assert dead.transport.disconnecting
    assert late.reads()[1:] == ["* the key is set", "* you are ANN in lobby, with bob"]
    dead.hangs_up()
    assert bob.reads() == ["* ann joined lobby", "* ann left (connected again)", "* ANN joined lobby"]
    late.types("/nick ann", "still here")
    assert bob.reads()[-1] == "<ann> still here"


@pytest.mark.parametrize("key", ["", "/key short", f"/key {KEY[::-1]}", f"/key {'x' * 65}"])
def test_nobody_takes_a_name_over_without_its_key(hub: Hub, key: str) -> None:
    ann, eve = Person(hub), Person(hub)
    ann.types(f"/key {KEY}", "ann")
    eve.types(key, "ann")
    assert "* the name ann is taken" in eve.reads()
    eve.types("eve", "/nick ann")
    assert eve.reads()[-1] == "* the name ann is taken"
    assert not ann.transport.disconnecting


def test_a_name_without_a_key_is_not_taken_over(hub: Hub) -> None:
    ann, eve = Person(hub, "ann"), Person(hub)
    eve.types(f"/key {KEY}", "ann")
    assert "* the name ann is taken" in eve.reads()
    assert not ann.transport.disconnecting


def test_a_ban_by_the_cloak_of_an_address_keeps_connections_out(hub: Hub) -> None:
    ann, eve = Person(hub, "ann"), Person(hub, "eve")
    ann.types("/join den", "/whois eve")
    (cloak,) = re.findall(r"\* eve, from (u\w+), in lobby, silent for 0 s", ann.reads()[-1])
    ann.types(f"/mode +b *@{cloak}")
    eve.types("/join den")
    assert eve.reads()[-1] == "* you are banned from that room"
