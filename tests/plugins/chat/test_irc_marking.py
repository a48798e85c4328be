from __future__ import annotations

import pytest

from sockd_plugins.chat.irc.markers import MOST_MARKS, MOST_READERS, Markers
from tests.plugins.chat.irc_clients import IrcClient, Network

CAPS = "draft/read-marker standard-replies"
NOON, LATER = "timestamp=2027-01-15T12:00:00.000Z", "timestamp=2027-01-15T12:00:01.000Z"


class AnyPassword:
    """Accounts that everybody has."""

    async def check(self, name: str, password: str, source: str = "-") -> bool:
        return True


def a_device(network: Network, nick: str) -> IrcClient:
    """Return one of ann's clients, in a room."""
    client = network.connect()
    client.says(
        f"CAP REQ :{CAPS}", "PASS ann:secret", f"NICK {nick}", "USER ann 0 * :Ann", "CAP END", "JOIN #a"
    )
    client.reads()
    return client


def test_an_entry_tells_how_far_the_room_is_read() -> None:
    ann = Network().client("ann", caps=CAPS)
    ann.says("JOIN #a")
    assert [line.split(" ")[1] for line in ann.reads()] == ["JOIN", "353", "MARKREAD", "366"]
    ann.says(f"MARKREAD #a {NOON}", "PART #a", "JOIN #a")
    assert f":irc.example MARKREAD #a {NOON}" in ann.reads()[2:]


def test_a_mark_moves_forward_only() -> None:
    ann = Network().client("ann", "#a", caps=CAPS)
    ann.says(
        "MARKREAD #a", f"MARKREAD #a {LATER}", f"MARKREAD #A {NOON}", f"MARKREAD bob {NOON}", "MARKREAD Bob"
    )
    assert ann.reads() == [
        ":irc.example MARKREAD #a *",
        f":irc.example MARKREAD #a {LATER}",
        f":irc.example MARKREAD #A {LATER}",
        f":irc.example MARKREAD bob {NOON}",
        f":irc.example MARKREAD Bob {NOON}",
    ]


def test_all_clients_of_an_account_are_told_and_one_that_comes_back_finds_it() -> None:
    network = Network(accounts=AnyPassword())
    laptop, phone = a_device(network, "ann"), a_device(network, "ann_")
    laptop.reads()
    laptop.says(f"MARKREAD #a {NOON}")
    assert laptop.reads() == phone.reads() == [f":irc.example MARKREAD #a {NOON}"]
    laptop.hangs_up()
    phone.hangs_up()
    again = a_device(network, "ann")
    again.says("MARKREAD #a")
    assert again.reads() == [f":irc.example MARKREAD #a {NOON}"]


def test_marks_of_those_without_an_account_are_nobody_elses() -> None:
    network = Network()
    ann = network.client("ann", "#a", caps=CAPS)
    ann.says(f"MARKREAD #a {NOON}")
    ann.hangs_up()
    ann = network.client("ann", "#a", caps=CAPS)
    ann.says("MARKREAD #a")
    assert ann.reads() == [":irc.example MARKREAD #a *"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("", "NEED_MORE_PARAMS"),
        (f"#b {NOON}", "INVALID_PARAMS"),
        ("#a timestamp=noon", "INVALID_PARAMS"),
        ("#a msgid=a/1", "INVALID_PARAMS"),
    ],
)
def test_a_faulty_request_is_told_by_its_code(request_: str, code: str) -> None:
    ann = Network().client("ann", "#a", caps=CAPS)
    ann.says(f"MARKREAD {request_}")
    (line,) = ann.reads()
    assert line.startswith(f":irc.example FAIL MARKREAD {code} ")


def test_marks_are_bounded() -> None:
    markers: Markers[int] = Markers()
    for number in range(MOST_MARKS + 1):
        markers.move(0, "ann", f"#{number}", 1.0)
    assert markers.read_until(0, "ann", "#0") is None
    assert markers.read_until(0, "ann", "#1") == 1.0
    for number in range(MOST_READERS):
        markers.move(0, f"n{number}", "#a", 1.0)
    assert markers.read_until(0, "ann", "#1") is None
