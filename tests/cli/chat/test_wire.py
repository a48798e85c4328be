"""Lines of the server, read by the client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.cli.chat import wire
from sockd.text import printable
from sockd_plugins.chat.hub.events import Ended, Entered, Event, Joined, Left, Marked, Present, Renamed, Told
from sockd_plugins.chat.hub.events import Said as SaidEvent
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.terminal.forms import Mode

NAMES = st.text("abcXYZ019_.-", min_size=1, max_size=24)
TEXTS = st.text(min_size=1).map(printable)


@given(
    NAMES, TEXTS, st.integers(1, 10**12), st.integers(0, 2**32), st.sampled_from(("said", "action", "notice"))
)
def test_every_message_is_read_as_it_was_written(
    name: str, text: str, number: int, at: int, kind: wire.Kind
) -> None:
    event = SaidEvent("lobby", name, text, number, at / 2, kind)
    assert wire.read(Mode(numbers=True).message(event)) == wire.Said(name, text, kind, number, at / 2)
    assert wire.read(Mode().message(event)) == wire.Said(name, text, kind)


@given(NAMES, NAMES, TEXTS)
def test_every_private_message_is_read_as_it_was_written(name: str, to: str, text: str) -> None:
    mode, told = Mode(numbers=True), Told(name, to, text, 17.0)
    assert wire.read(mode.message(told)) == wire.Private(name, "you", text, 17.0)
    assert wire.read(mode.own(told)) == wire.Private("you", to, text, 17.0)


@given(TEXTS)
def test_no_message_is_read_as_a_line_of_the_server(text: str) -> None:
    for kind in ("said", "action", "notice"):
        line = Mode().message(SaidEvent("lobby", "ann", text, kind=kind))
        assert isinstance(wire.read(line), wire.Said)


@pytest.mark.parametrize(
    ("event", "meaning"),
    [
        (Entered("den", "ann"), wire.Entered("ann", "den", (), "")),
        (
            Entered("den", "ann", (Present("bob"), Present("carl"))),
            wire.Entered("ann", "den", ("bob", "carl"), ""),
        ),
        (Joined("den", "bob"), wire.Joined("bob")),
        (Left("den", "bob", ""), wire.Left("bob")),
        (Left("den", "bob", "quit (really)"), wire.Left("bob")),
        (Renamed("bob", "rob"), wire.Renamed("bob", "rob")),
        (Marked("7", "den", 19), wire.Pong(7, "den", 19)),
        (Marked("7"), wire.Pong(7, "", 0)),
    ],
)
def test_what_happens_is_understood(event: Event, meaning: wire.Meaning) -> None:
    line = wire.read(Mode(numbers=True).lines(event)[0])
    assert isinstance(line, wire.Notice)
    assert wire.meaning(line.text) == meaning


def test_a_crowd_is_listed_without_the_words_about_the_others() -> None:
    others = tuple(Present(f"x{number}") for number in range(99))
    line = wire.read(Mode().lines(Entered("den", "ann", others))[0])
    assert isinstance(line, wire.Notice)
    entered = wire.meaning(line.text)
    assert isinstance(entered, wire.Entered)
    assert entered.others == tuple(f"x{number}" for number in range(50))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (
            "you are ann in lobby; answer /here 5f3a9c01 to be shown all",
            wire.Entered("ann", "lobby", (), "5f3a9c01"),
        ),
        ("5 not shown; answer /here 5f3a9c01 to be shown all", wire.Skipped("5f3a9c01")),
        ("5 not shown; send more often", wire.Skipped("")),
        ("312 skipped; /since 1834 shows those that are kept", wire.Skipped("")),
        ("you are not in the chat any more", wire.Outside()),
        ("you are not in the chat; your name lets you in", wire.Outside()),
        ("in lobby: ann, bob and 3 more", wire.Present("lobby", ("ann", "bob"))),
        ("room lobby: 3 here; tea at 4", wire.Room("lobby")),
        ("ann removed bob from den (spam)", wire.Removed("bob")),
        ("ann removed message 17 of den (spam)", wire.Redacted("den", 17)),
        ("the chat removed message 17 of den", wire.Redacted("den", 17)),
        ("the topic of den is: tea", wire.Topic("den", "tea")),
        ("ann set the topic of den to: tea", wire.Topic("den", "tea")),
        ("ann removed the topic of den", wire.Topic("den", "")),
        ("whatever else", None),
    ],
)
def test_further_lines_are_understood(text: str, meaning: wire.Meaning | None) -> None:
    assert wire.meaning(text) == meaning


def test_refusals_have_a_code() -> None:
    mode = Mode(numbers=True)
    assert wire.read(mode.refusal(ChatRefused("taken", "it is taken"))) == wire.Refused(
        "taken", "it is taken"
    )
    assert wire.read(mode.refusal(ChatRefused("too_fast", ""))) == wire.Refused("too_fast", "")
    assert wire.read(mode.lines(Ended("bye"))[0]) == wire.Refused("ended", "bye")


@given(st.text().map(printable) | st.text("0123456789-:.TZ <>[]*!/").map(printable))
def test_any_line_is_read(line: str) -> None:
    read = wire.read(line)
    if isinstance(read, wire.Notice):
        wire.meaning(read.text)
