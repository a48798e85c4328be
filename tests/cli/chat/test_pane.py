"""Messages on a screen: wrapping and scrolling."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from sockd.cli.chat.pane import MOST_ENTRIES, Entry, Pane, wrapped
from sockd.text import printable


def a_pane(count: int) -> Pane:
    pane = Pane(lambda: ())
    for number in range(1, count + 1):
        pane.add(Entry((), str(number), number=number, room="lobby"))
    return pane


def rows(pane: Pane, width: int = 20, height: int = 5) -> list[str]:
    content = pane.create_content(width, height)
    return ["".join(part[1] for part in content.get_line(at)) for at in range(content.line_count)]


@given(st.text().map(printable), st.integers(-3, 30), st.integers(2, 30))
def test_no_row_is_wider_than_the_screen_and_nothing_but_spaces_is_lost(
    text: str, first: int, others: int
) -> None:
    pieces = wrapped(text, first, others)
    assert all(
        get_cwidth(piece) <= max(0, room)
        for piece, room in zip(pieces, [first, *[others] * 999], strict=False)
    )
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


def test_text_is_wrapped_at_spaces() -> None:
    assert wrapped("one two three", 8, 5) == ["one two", "three"]
    assert wrapped("one two", 2, 5) == ["", "one", "two"]
    assert wrapped("abcdefgh", 3, 4) == ["", "abcd", "efgh"]
    assert wrapped("漢字漢字", 3, 3) == ["", "漢", "字", "漢", "字"]
    assert wrapped("", 3, 3) == [""]


def test_the_newest_messages_are_at_the_bottom() -> None:
    assert rows(a_pane(2)) == ["", "", "", "1", "2"]
    assert rows(a_pane(9)) == ["5", "6", "7", "8", "9"]


def test_what_is_being_read_stays_while_others_speak() -> None:
    pane = a_pane(20)
    rows(pane)
    pane.scroll(1)
    before = rows(pane)
    assert before == ["12", "13", "14", "15", "16"]
    for text in ("new", "another one"):
        pane.add(Entry((), text))
    assert rows(pane) == before
    assert (pane.following, pane.unseen) == (False, 2)
    pane.follow()
    assert rows(pane)[-1] == "another one"
    assert (pane.following, pane.unseen) == (True, 0)


def test_scrolling_ends_at_the_first_and_at_the_last_message() -> None:
    pane = a_pane(9)
    rows(pane)
    pane.scroll(100)
    assert rows(pane)[0] == "1"
    pane.scroll(-1)
    assert rows(pane) == ["5", "6", "7", "8", "9"]
    pane.scroll(-100)
    assert pane.following


def test_older_messages_come_above_and_move_nothing() -> None:
    pane = a_pane(9)
    rows(pane)
    pane.scroll(100)
    before = rows(pane)
    for text in ("-2", "-1", "0"):
        pane.add_older(Entry((), text))
    assert pane.show_older() == 3
    assert rows(pane) == before
    pane.scroll(1)
    assert rows(pane)[0] == "-2"


def test_the_oldest_message_of_a_room_is_known() -> None:
    pane = a_pane(3)
    pane.add_older(Entry((), "note"))
    pane.show_older()
    assert pane.oldest("lobby") == 1
    assert pane.oldest("den") == 0


def test_the_text_of_a_redacted_message_vanishes() -> None:
    pane = a_pane(3)
    assert rows(pane)[-2:] == ["2", "3"]
    pane.redact("lobby", 2)
    pane.redact("den", 3)
    assert rows(pane)[-2:] == ["(removed)", "3"]


def test_numbers_are_shown_on_demand() -> None:
    pane = a_pane(1)
    pane.add(Entry((), "a note that is wrapped", indent=2))
    pane.numbered = True
    assert rows(pane)[-3:] == ["    1 1", "      a note that", "        is wrapped"]
    pane.numbered = False
    assert rows(pane)[-2:] == ["a note that is", "  wrapped"]


def test_entries_are_bounded() -> None:
    pane = a_pane(MOST_ENTRIES + 10)
    assert pane.oldest("lobby") == 11
    pane.add_older(Entry((), "older"))
    pane.show_older()
    assert pane.oldest("lobby") == 11


def test_a_narrow_screen_still_shows_something() -> None:
    pane = Pane(lambda: ())
    pane.add(Entry((("", "13:05 "), ("", "<ann> ")), "hello there", indent=6))
    assert rows(pane, width=8, height=4)[-1].strip()
