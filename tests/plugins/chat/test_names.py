from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd_plugins.chat.hub.names import Names, fold, is_name, is_of_service, shape

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."


@pytest.mark.parametrize("name", ["a", "Ann", "ann_", "__", "7up", "a.b", "a-", "x" * 24])
def test_letters_digits_and_three_signs_make_a_name(name: str) -> None:
    assert is_name(name, 24)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "-a",
        ".",
        "..",
        ".a",
        "ann.",
        "x" * 25,
        "ann\n",
        "zoë",
        "a[b]",
        "a|b",
        "a/b",
        "#a",
    ],
)
def test_nothing_else_is_a_name(name: str) -> None:
    assert not is_name(name, 24)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "a1ice"),
        ("alice", "AIice"),
        ("Ian", "lan"),
        ("bob", "b0b"),
        ("BOB", "b0b"),
        ("mark", "rnark"),
        ("wim", "vvirn"),
        ("oil", "O1I"),
    ],
)
def test_names_that_look_alike_are_confusable(one: str, other: str) -> None:
    names: Names[int] = Names()
    names.give(one, 1)
    assert names.rival(other) == one
    assert names.find(other) is None  # nobody writes to one of them and reaches the other


def test_what_programs_choose_for_a_name_that_is_taken_is_possible_beside_it() -> None:
    names: Names[int] = Names()
    chosen = ["nick", "nick_", "nick__", "nick___", "nick-", "_nick", "alt1", "alt2"]
    chosen += [f"nick{number}" for number in range(200)] + [f"user{number}" for number in range(1200)]
    for number, name in enumerate(chosen):
        assert not names.rival(name), name
        names.give(name, number)
    assert list(names) == list(range(len(chosen)))


def test_a_name_is_found_in_each_spelling_and_free_when_it_is_taken_back() -> None:
    names: Names[str] = Names()
    names.give("Ann", "her")
    assert names.find("aNN") == "her"
    assert "ANN" in names
    assert names.rival("ann") == "Ann"
    assert not names.rival("ann", own="Ann")
    names.take("ann")
    assert not names.rival("ann")
    assert len(names) == 0


@pytest.mark.parametrize("name", ["NickServ", "nickserv", "N1ckServ", "chanserv"])
def test_the_programs_that_are_told_passwords_have_names_of_their_own(name: str) -> None:
    assert is_of_service(name)
    assert not is_of_service(f"{name}_")


@given(st.lists(st.text(LETTERS, min_size=1, max_size=4)))
def test_of_all_names_in_use_no_two_are_the_same_or_confusable(asked: list[str]) -> None:
    names: Names[str] = Names()
    for name in asked:
        if not names.rival(name):
            names.give(name, name)
    for one, other in pairwise(sorted(names, key=shape)):
        assert shape(one) != shape(other)
        assert fold(one) != fold(other)
    for name in list(names):
        names.take(name)
    assert not any(names.rival(name) for name in asked)


@given(st.text(LETTERS, max_size=8))
def test_case_changes_neither_the_name_nor_its_shape(name: str) -> None:
    assert fold(name) == fold(name.upper())
    assert shape(name) == shape(name.upper()) == shape(fold(name))
