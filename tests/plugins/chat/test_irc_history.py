from __future__ import annotations

import pytest

from sockd_plugins.chat.hub.rules import RoomRules
from sockd_plugins.chat.irc.text import timestamp
from tests.plugins.chat.irc_clients import NOON, IrcClient, Network

CAPS = "batch server-time message-tags draft/chathistory standard-replies"


def at(second: float) -> str:
    return f"timestamp={timestamp(NOON + second)}"


@pytest.fixture
def ann() -> IrcClient:
    """Return a client in a room with ten messages, one each second, that it has read."""
    network = Network()
    ann = network.client("ann", "#a", caps=CAPS)
    bob = network.client("bob", "#a")
    for number in range(1, 11):
        network.time = NOON + number
        bob.says(f"PRIVMSG #a :{number}")
    ann.reads()
    return ann


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("LATEST #a * 3", "8 9 10"),
        ("LATEST #a msgid=a/8 5", "9 10"),
        (f"LATEST #A {at(8)} 5", "9 10"),
        ("BEFORE #a msgid=a/4 2", "2 3"),
        (f"BEFORE #a {at(4)} 2", "2 3"),
        (f"BEFORE #a {at(4.001)} 2", "3 4"),
        ("AFTER #a msgid=a/4 2", "5 6"),
        (f"AFTER #a {at(4)} 2", "5 6"),
        (f"AFTER #a {at(3.999)} 2", "4 5"),
        (f"AFTER #a {at(99)} 2", ""),
        (f"AFTER #a {at(-99)} 2", "1 2"),
        ("AROUND #a msgid=a/5 4", "3 4 5 6"),
        ("BETWEEN #a msgid=a/2 msgid=a/6 10", "3 4 5"),
        ("BETWEEN #a msgid=a/2 msgid=a/6 2", "3 4"),
        ("BETWEEN #a msgid=a/6 msgid=a/2 2", "4 5"),
        (f"BETWEEN #a {at(2)} {at(6)} 10", "3 4 5"),
        ("LATEST #a * 9999", "1 2 3 4 5 6 7 8 9 10"),
    ],
)
def test_past_messages_are_found_by_name_and_time(ann: IrcClient, request_: str, expected: str) -> None:
    ann.says(f"CHATHISTORY {request_}")
    first, *lines, last = ann.reads()
    assert (first, last) == (":irc.example BATCH +history chathistory #a", ":irc.example BATCH -history")
    assert [line.split(" :")[-1] for line in lines] == expected.split()
    assert all(line.startswith("@batch=history;time=2027-01-15T08:00:") for line in lines)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("FOO #a * 3", "INVALID_PARAMS"),
        ("LATEST #a *", "NEED_MORE_PARAMS"),
        ("LATEST", "NEED_MORE_PARAMS"),
        ("LATEST #a * x", "INVALID_PARAMS"),
        ("LATEST #a * 0", "INVALID_PARAMS"),
        ("LATEST #b * 3", "INVALID_TARGET"),
        ("LATEST bob * 3", "INVALID_TARGET"),
        ("BEFORE #a 17 3", "INVALID_PARAMS"),
        ("BEFORE #a msgid=b/17 3", "INVALID_PARAMS"),
        ("BEFORE #a msgid=17 3", "INVALID_PARAMS"),
        ("BEFORE #a timestamp=noon 3", "INVALID_PARAMS"),
        ("AFTER #a msgid=a/99 3", "MESSAGE_ERROR"),
    ],
)
def test_a_faulty_request_is_told_by_its_code(ann: IrcClient, request_: str, code: str) -> None:
    ann.says(f"CHATHISTORY {request_}")
    (line,) = ann.reads()
    assert line.startswith(f":irc.example FAIL CHATHISTORY {code} {request_.split(' ')[0]} ")


def test_a_program_without_batches_reads_them_with_their_time() -> None:
    network = Network()
    bob = network.client("bob", "#a")
    bob.says("PRIVMSG #a :one", "CHATHISTORY LATEST #a * 5")
    assert bob.reads() == [":bob!bob@cloak PRIVMSG #a :[2027-01-15 08:00] one"]


def test_what_a_newcomer_may_not_read_is_not_sent() -> None:
    network = Network(quiet=RoomRules(read_back="none"))
    bob = network.client("bob", "#quiet")
    bob.says("PRIVMSG #quiet :one")
    ann = network.client("ann", "#quiet", caps=CAPS)
    bob.says("PRIVMSG #quiet :two")
    ann.reads()
    ann.says("CHATHISTORY LATEST #quiet * 5")
    assert [line.split(" :")[-1] for line in ann.reads()[1:-1]] == ["two"]
