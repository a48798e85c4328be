"""Display of faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.config import as_dict, render, report
from sockd.errors import Fault

FAULT = Fault(
    "service 'chat': unknown key 'max_connectoins' in limits",
    "sockd.toml",
    line=14,
    column=1,
    length=15,
    source="max_connectoins = 5",
    expected="one of: max_connections, idle_timeout",
    nearest="max_connections",
)


def at(source: str, part: str) -> Fault:
    """A fault about a part of a line."""
    return Fault("wrong", "f", 1, source.index(part) + 1, len(part), source)


def test_a_fault_is_shown_with_its_line_a_caret_and_what_is_known_there() -> None:
    assert render(FAULT) == (
        "sockd.toml:14:1: service 'chat': unknown key 'max_connectoins' in limits\n"
        "  14 | max_connectoins = 5\n"
        "     | ^^^^^^^^^^^^^^^ did you mean 'max_connections'?\n"
        "  expected one of: max_connections, idle_timeout"
    )


def test_expected_words_of_the_message_are_not_shown_again() -> None:
    fault = replace(FAULT, message="x: expected a path, found 5", expected="a path", nearest=None)
    assert render(fault).splitlines()[1:] == ["  14 | max_connectoins = 5", "     | ^^^^^^^^^^^^^^^"]


def test_a_fault_without_a_line_is_its_file_and_message() -> None:
    assert (
        render(Fault("cannot read the file: no such file", "a.toml"))
        == "a.toml: cannot read the file: no such file"
    )
    assert render(Fault("wrong", nearest="right")) == "wrong\n  did you mean 'right'?"


def test_a_long_list_is_wrapped() -> None:
    lines = render(replace(FAULT, expected="one of: " + ", ".join(["a_long_key"] * 30))).splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 100


def test_a_report_has_a_blank_line_between_faults() -> None:
    assert report([FAULT, FAULT]) == f"{render(FAULT)}\n\n{render(FAULT)}"


@pytest.mark.parametrize(
    ("source", "part", "shown", "caret"),
    [
        ("\tx = 5", "x", "    x = 5", "    ^"),
        ("a\t= 5", "5", "a    = 5", "       ^"),
        ('a = "漢字" # 字', '"漢字"', 'a = "漢字" # 字', "    ^^^^^^"),
        ('"漢" = 5', "5", '"漢" = 5', "       ^"),
        ('"e\u0301" = 5', "5", '"e\u0301" = 5', "      ^"),
        ("a = 5\x1b[2J", "5", "a = 5\\x1b[2J", "    ^"),
        ("\x1b = 5", "\x1b", "\\x1b = 5", "^^^^"),
        ("\u202ea = 5", "5", "\\u202ea = 5", "          ^"),
        ("a = ", "", "a =", "^"),
    ],
)
def test_the_caret_stands_below_what_is_meant(source: str, part: str, shown: str, caret: str) -> None:
    assert render(at(source, part)).splitlines()[1:] == [f"  1 | {shown}", f"    | {caret}"]


def test_a_caret_behind_the_end_of_the_line_stands_there() -> None:
    assert render(Fault("wrong", "f", 1, 5, 1, "x = ")).splitlines()[1:] == ["  1 | x =", "    |     ^"]


@pytest.mark.parametrize("before", [0, 30, 100, 500])
@pytest.mark.parametrize("after", [0, 50, 500])
def test_a_long_line_is_shown_around_the_caret(before: int, after: int) -> None:
    _, line, caret = render(at("b" * before + "X" * 9 + "a" * after, "X" * 9)).splitlines()
    assert len(line) <= len("  1 | ") + 102
    assert line[caret.index("^") :][:9] == "X" * 9
    assert caret.count("^") == 9


def test_a_long_part_is_marked_as_far_as_it_is_shown() -> None:
    _, line, caret = render(at("x = " + "X" * 500, "X" * 500)).splitlines()
    assert len(line) <= len("  1 | ") + 101
    assert len(caret) < len(line)


@given(
    st.builds(
        Fault,
        st.text(),
        st.text(),
        line=st.integers(0, 10),
        column=st.integers(1, 200),
        length=st.integers(1, 200),
        source=st.text(max_size=200).map(lambda text: text.replace("\n", "")),
        expected=st.text(),
        found=st.text(),
        nearest=st.none() | st.text(),
    )
)
def test_nothing_in_a_fault_can_command_a_terminal(fault: Fault) -> None:
    shown = render(fault)
    assert shown.replace("\n", "").isprintable()
    assert all(
        len(line) <= 1000 or line.startswith(("  expected", "   ")) is False for line in shown.split("\n")
    )


def test_a_fault_is_a_plain_dict_for_machines() -> None:
    data = json.loads(json.dumps(as_dict(FAULT)))
    assert Fault(**data) == FAULT


def test_the_first_hundred_faults_are_told_and_the_number_of_the_others(
    faults: Callable[[str], tuple[Fault, ...]],
) -> None:
    *told, more = faults("[limits]\n" + "".join(f"key{n} = 1\n" for n in range(130)))
    assert [fault.line for fault in told] == list(range(2, 102))
    assert render(more) == "and 30 more: correct these first"


def test_a_fault_in_a_long_line_has_the_part_around_it(faults: Callable[[str], tuple[Fault, ...]]) -> None:
    items = ", ".join(["'::1'"] * 1000)
    [fault] = faults(f"[limits]\nallow = [{items}, 'x', {items}]")
    assert len(fault.source) == 1000
    at = fault.column - fault.source_column
    assert fault.source[at : at + fault.length] == "x"
    text = render(fault).splitlines()
    assert text[1][text[2].index("^") :].startswith("x'")
    assert text[1].startswith("  2 | …")
    assert text[1].endswith("…")
