import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.rules import Rules
from sockd_plugins.chat.terminal.datagrams import (
    CERTAIN_ALLOWANCE,
    FACTOR,
    NEWCOMERS,
    NEWCOMERS_AT_ONCE,
    REPLIES,
    UNUSED_ALLOWANCE,
    WELCOME,
    Address,
    ChatDatagrams,
    Peers,
)
from tests.plugins.chat.turns import ShortTurns

ANN, BOB, CARL = ("127.0.0.1", 40001), ("127.0.0.1", 40002), ("::1", 40003)


class Port:
    """Datagram port in memory, with one listener of the chat."""

    def __init__(self, peers: Peers) -> None:
        self.protocol: Any = ChatDatagrams(peers)
        self.sent: list[tuple[bytes, Address]] = []
        connect(self.protocol, self)

    def write(self, data: bytes, addr: Address) -> None:
        self.sent.append((data, addr))

    def hears(self, addr: Address | None, *datagrams: str | bytes) -> None:
        for datagram in datagrams:
            self.protocol.datagramReceived(datagram.encode() if isinstance(datagram, str) else datagram, addr)

    def shows(self, addr: Address) -> list[str]:
        """Return what an address has been sent since the last call."""
        texts = [data.decode() for data, to in self.sent if to == addr]
        self.sent = [(data, to) for data, to in self.sent if to != addr]
        assert all(text.endswith("\n") and text.count("\n") == 1 for text in texts)
        return [text.removesuffix("\n") for text in texts]

    def closes(self) -> None:
        self.protocol.doStop()

    def admits(self, addr: Address, name: str) -> None:
        """Admit a member that has proven that it receives."""
        self.hears(addr, name)
        (code,) = re.findall(r"/here \w+", self.shows(addr)[0])
        self.hears(addr, code)
        assert self.shows(addr) == ["* you are shown all now"]


def connect(protocol: Any, transport: Any) -> None:
    protocol.makeConnection(transport)


class Chat:
    """Chat with one port, and its clock."""

    def __init__(self, max_members: int = 100, rate: float = 1e6) -> None:
        rules = Rules(
            room="lobby",
            max_members=max_members,
            max_rooms=10,
            name_length=24,
            message_length=400,
            history=20,
            rate=rate,
            burst=1000,
        )
        self.clock = ShortTurns()
        self.hub = Hub(rules, self.clock, Logger("test"))
        self.peers = Peers(self.hub, self.clock, places=max_members // 2, silence=120)
        self.port = Port(self.peers)

    def has(self, name: str) -> bool:
        return self.hub.find(name) is not None


class Deaf:
    """Member over another transport."""

    def deliver(self, batch: Batch) -> None:
        pass


@pytest.fixture
def chat() -> Chat:
    return Chat()


@pytest.fixture
def port(chat: Chat) -> Port:
    return chat.port


@pytest.mark.parametrize("first", ["ann", "ann\r\n", "  ann ", "/nick ann", "/nick  ann\n"])
def test_the_first_datagram_is_the_name(port: Port, first: str) -> None:
    port.hears(ANN, first)
    (welcome,) = port.shows(ANN)
    assert re.fullmatch(r"\* you are ann in lobby; answer /here [0-9a-f]{8} to be shown all", welcome)


@pytest.mark.parametrize("first", ["hello world", "where is everybody?", "żółć", "/who", "x" * 25])
def test_a_first_datagram_that_is_no_name_is_said_by_a_guest(port: Port, first: str) -> None:
    port.admits(BOB, "bob")
    port.hears(ANN, first)
    assert port.shows(ANN)[0].startswith("* you are guest-1 in lobby;")
    heard = port.shows(BOB)
    assert heard[0] == "* guest-1 joined lobby"
    assert heard[1:] == ([f"<guest-1> {first}"] if first != "/who" else [])


@pytest.mark.parametrize("first", ["Bob", "/nick BOB", "/nick no way"])
def test_a_newcomer_whose_name_is_refused_is_a_guest_and_is_told_why(port: Port, first: str) -> None:
    port.admits(BOB, "bob")
    port.hears(ANN, first)
    welcome, reason = port.shows(ANN)
    assert welcome.startswith("* you are guest-1 in lobby;")
    assert reason.startswith(("* the name ", "* a name is "))
    assert port.shows(BOB) == ["* guest-1 joined lobby"]


def test_a_guest_gets_a_name_that_nobody_has(port: Port) -> None:
    port.hears(ANN, "GUEST-1")
    port.hears(BOB, "hi all")
    assert port.shows(BOB)[0].startswith("* you are guest-2 ")


@pytest.mark.parametrize("first", [b"", b"\n", b"  ", b"/quit"])
def test_nothing_to_say_does_not_let_anybody_in(port: Port, first: bytes) -> None:
    port.hears(ANN, first)
    assert port.sent == []


def test_a_peer_without_an_address_is_ignored(chat: Chat, port: Port) -> None:
    port.hears(None, "ann", "hello")
    assert port.sent == []
    assert not chat.has("ann")


def test_a_datagram_is_a_message_to_the_others(port: Port) -> None:
    port.admits(ANN, "ann")
    port.admits(BOB, "bob")
    port.shows(ANN)
    port.hears(ANN, "hello", "bye\n", "two\nlines", b"\x1b[2J\xff")
    assert port.shows(ANN) == []
    assert port.shows(BOB) == ["<ann> hello", "<ann> bye", r"<ann> two\x0alines", r"<ann> \x1b[2J\xff"]


def test_the_commands_are_those_of_lines(port: Port) -> None:
    port.admits(ANN, "ann")
    port.admits(BOB, "bob")
    port.shows(ANN)
    port.hears(ANN, "/nick anna", "/msg bob psst", "/who", "/join den", "/dance", "/quit")
    assert port.shows(ANN) == [
        "* ann is now anna",
        "* in lobby: anna, bob",
        "* you are anna in den",
        "* unknown command: /help lists them all",
    ]
    assert port.shows(BOB) == ["* ann is now anna", "[anna -> you] psst", "* anna left lobby"]


def test_a_member_that_has_quit_may_come_again(chat: Chat, port: Port) -> None:
    port.hears(ANN, "ann", "/quit")
    assert not chat.has("ann")
    port.hears(ANN, "ann")
    assert chat.has("ann")


def test_a_member_that_is_silent_for_too_long_is_removed_and_the_room_is_told(chat: Chat, port: Port) -> None:
    port.admits(ANN, "ann")
    port.admits(BOB, "bob")
    port.shows(ANN)
    chat.clock.advance(119)
    port.hears(BOB, "")
    chat.clock.advance(2)
    assert port.shows(ANN) == ["* you were silent for too long and are out of the chat"]
    assert port.shows(BOB) == ["* ann left (silent)"]
    chat.clock.advance(117)
    assert chat.has("bob")
    chat.clock.advance(2)
    assert not chat.has("bob")


def test_one_timer_watches_everybody_and_none_if_nobody_is_there(chat: Chat, port: Port) -> None:
    assert chat.clock.getDelayedCalls() == []
    for number in range(40):
        port.hears(("127.0.0.1", 40_000 + number), f"n{number}")
        chat.clock.advance(1)
    assert len(chat.clock.getDelayedCalls()) == 1
    chat.clock.pump([10] * 20)
    assert chat.clock.getDelayedCalls() == []
    assert not chat.has("n39")


def test_a_closed_listener_takes_its_peers_along_and_no_others(chat: Chat, port: Port) -> None:
    other = Port(chat.peers)
    other.admits(BOB, "bob")
    port.hears(ANN, "ann")
    port.hears(CARL, "carl")
    other.shows(BOB)
    port.closes()
    assert other.shows(BOB) == ["* ann left (disconnected)", "* carl left (disconnected)"]
    other.closes()
    assert chat.clock.getDelayedCalls() == []
    assert not chat.has("bob")


def test_one_address_at_two_listeners_is_two_members(chat: Chat, port: Port) -> None:
    other = Port(chat.peers)
    port.hears(ANN, "ann")
    other.hears(ANN, "anna")
    assert chat.has("ann")
    assert chat.has("anna")


def test_forged_addresses_take_half_of_the_places_and_push_nobody_out(chat: Chat, port: Port) -> None:
    port.admits(ANN, "ann")
    for number in range(10_000):
        port.hears((f"10.0.{number // 250}.{number % 250}", 40_000), f"n{number}")
    assert sum(chat.has(f"n{number}") for number in range(10_000)) == 49
    chat.clock.advance(5)
    port.hears(("10.0.4.0", 40_000), "late")
    assert port.shows(("10.0.4.0", 40_000)) == ["* the chat is full, for datagrams"]
    port.shows(ANN)
    port.hears(ANN, "/who")
    (listed,) = port.shows(ANN)
    assert listed.startswith("* in lobby: ann, n0, n1,")
    chat.clock.advance(60)
    port.hears(ANN, "")
    chat.clock.advance(61)
    port.hears(BOB, "bob")
    assert chat.has("ann")
    assert chat.has("bob")


def test_newcomers_that_come_and_go_are_slowed_down() -> None:
    chat = Chat(max_members=1000)
    admitted = 0
    for number in range(1000):
        chat.port.hears(("10.0.0.1", 10_000 + number), "x y")
        admitted += chat.has(f"guest-{admitted + 1}")
        chat.port.hears(("10.0.0.1", 10_000 + number), "/quit")
    assert admitted == NEWCOMERS_AT_ONCE
    refused = [chat.port.shows(("10.0.0.1", 10_000 + number)) for number in range(admitted, 1000)]
    told = ["* too many newcomers, try again"]
    assert refused == [*[told] * NEWCOMERS_AT_ONCE, *[[]] * (1000 - admitted - NEWCOMERS_AT_ONCE)]
    chat.clock.advance(1)
    for number in range(1000):
        chat.port.hears(("10.0.0.1", 10_000 + number), f"n{number}")
    assert sum(chat.has(f"n{number}") for number in range(1000)) == NEWCOMERS


def test_a_chat_full_of_connections_takes_no_datagram_members() -> None:
    chat = Chat(max_members=4)
    for name in ("a", "b", "c", "d"):
        chat.hub.enter(name, Deaf())
    chat.port.hears(ANN, "ann")
    assert chat.port.shows(ANN) == ["* the chat is full: 4 members"]


def test_a_forged_address_is_not_flooded(port: Port) -> None:
    port.hears(ANN, "a")
    port.admits(BOB, "bob")
    port.hears(BOB, *["x" * 400] * 100)
    assert sum(len(data) for data, to in port.sent if to == ANN) <= WELCOME


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_an_unproven_address_never_gets_more_than_its_allowance(datagrams: list[bytes]) -> None:
    chat = Chat()
    chat.port.admits(BOB, "bob")
    earned = 0
    for datagram in datagrams:
        chat.port.hears(ANN, datagram)
        chat.port.hears(BOB, "blah " * 20, "blah")
        earned += max(WELCOME, FACTOR * len(datagram))
        assert sum(len(data) for data, to in chat.port.sent if to == ANN) <= earned


def test_an_unproven_address_cannot_save_up_for_a_flood(port: Port) -> None:
    port.hears(ANN, "ann", *["x" * 400] * 20)
    port.sent.clear()
    port.admits(BOB, "bob")
    port.hears(BOB, *["x" * 90] * 100)
    assert sum(len(data) for data, to in port.sent if to == ANN) <= UNUSED_ALLOWANCE


def test_lines_not_shown_are_counted_and_reported_with_the_remedy(port: Port) -> None:
    port.hears(ANN, "ann")
    port.admits(BOB, "bob")
    port.hears(BOB, *["x" * 100] * 5)
    port.shows(ANN)
    port.hears(ANN, "what?")
    (missed,) = port.shows(ANN)
    remedy = re.fullmatch(r"\* 5 not shown; answer (/here [0-9a-f]{8}) to be shown all", missed)
    assert remedy
    port.hears(ANN, remedy[1])
    port.hears(BOB, *["x" * 100] * 5)
    assert port.shows(ANN) == ["* you are shown all now", *["<bob> " + "x" * 100] * 5]


def test_a_wrong_code_proves_nothing(port: Port) -> None:
    port.hears(ANN, "ann")
    port.hears(ANN, "/here 00000000x")
    assert port.shows(ANN)[1:] == ["* unknown command: /help lists them all"]


def test_even_a_proven_address_is_sent_only_so_much_for_each_datagram(port: Port) -> None:
    port.admits(ANN, "ann")
    port.admits(BOB, "bob")
    port.shows(ANN)
    line = len("<bob> \n") + 400
    port.hears(BOB, *["x" * 400] * 100)
    shown = len(port.shows(ANN))
    assert CERTAIN_ALLOWANCE - 2 * line < shown * line <= CERTAIN_ALLOWANCE
    port.hears(ANN, "")
    assert port.shows(ANN) == [f"* {100 - shown} not shown; send more often"]


def test_the_guard_lets_pass_what_the_chat_itself_allows() -> None:
    assert REPLIES.unasked
    assert REPLIES.floor >= max(CERTAIN_ALLOWANCE, UNUSED_ALLOWANCE)
    assert REPLIES.factor >= FACTOR


@pytest.mark.parametrize("addr", ["/run/ann.sock", b"\0ann"])
def test_a_unix_address_cannot_be_forged_and_is_shown_all(port: Port, addr: str | bytes) -> None:
    port.hears(addr, "ann")
    assert port.shows(addr) == ["* you are ann in lobby"]
    port.admits(BOB, "bob")
    port.hears(BOB, *["x" * 100] * 20)
    assert len(port.shows(addr)) == 21


def test_after_the_end_a_datagram_is_answered_with_it(chat: Chat, port: Port) -> None:
    port.hears(ANN, "ann")
    port.shows(ANN)
    chat.hub.close("the server is closing")
    assert port.shows(ANN) == ["* the server is closing"]
    port.hears(ANN, "hello?", "hello?")
    assert port.shows(ANN) == ["* you are not in the chat any more", "* the server is closing"]


def test_commands_of_members_make_no_newcomer_and_tell_that_the_member_is_unknown(
    chat: Chat, port: Port
) -> None:
    for text in ("/ping 7", "/here 5f3a9c01", "/again 17-19"):
        port.hears(ANN, text)
        assert port.shows(ANN) == ["* you are not in the chat; your name lets you in"]
    assert chat.hub.find("guest-1") is None
    for number in range(1000):
        port.hears(("10.0.0.1", 10_000 + number), "/ping 7")
    assert len(port.sent) < NEWCOMERS_AT_ONCE


def test_a_program_asks_for_the_datagrams_that_it_missed(port: Port) -> None:
    port.admits(ANN, "ann")
    port.admits(BOB, "bob")
    port.hears(BOB, "/numbers on", "/echo on")
    port.shows(BOB)
    port.hears(ANN, "one", "two", "three")
    port.sent.clear()  # lost on the way
    port.hears(BOB, "/ping 1", "/again 1-2", "four")
    shown = [re.sub(r"\d{4}-\S+Z", "TIME", line) for line in port.shows(BOB)]
    assert shown == ["* pong 1 lobby 3", "1 TIME <ann> one", "2 TIME <ann> two", "4 TIME <bob> four"]


def test_a_member_that_has_quit_after_a_question_is_out(chat: Chat, port: Port) -> None:
    port.admits(ANN, "ann")
    port.hears(ANN, "/since 0", "/quit", "/ping 1")
    assert port.shows(ANN)[-1] == "* you are not in the chat; your name lets you in"
