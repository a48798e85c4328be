from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd_plugins.chat.hub.masks import LONGEST, Mask, is_like


@dataclass
class Person:
    name: str
    account: str = ""
    host: str = "-"


def fits(mask: str, person: Person) -> bool:
    read = Mask.read(mask)
    assert read is not None
    return read.fits(person)


EVE = Person("Eve", "", "192.0.2.7")
ANN = Person("ann_", "ann", "example.org")


@pytest.mark.parametrize(
    ("mask", "person"),
    [
        ("eve", EVE),
        ("EVE", EVE),
        ("e*", EVE),
        ("?ve!*@*", EVE),
        ("*@192.0.2.*", EVE),
        ("*!*@192.0.2.7", EVE),
        ("*!-@*", EVE),
        ("*!ann@*", ANN),
        ("$a:ann", ANN),
        ("$a:*", ANN),
        ("*", EVE),
    ],
)
def test_a_mask_fits_a_name_a_host_or_an_account(mask: str, person: Person) -> None:
    assert fits(mask, person)


@pytest.mark.parametrize(
    ("mask", "person"),
    [("eve", ANN), ("ev", EVE), ("$a:*", EVE), ("$a:eve", EVE), ("*@192.0.3.*", EVE), ("*!eve@*", EVE)],
)
def test_a_mask_fits_nobody_else(mask: str, person: Person) -> None:
    assert not fits(mask, person)


def test_masks_that_mean_the_same_are_equal() -> None:
    assert Mask.read("Eve") == Mask.read("eve!*@*") == Mask.read("eve!")
    assert Mask.read("*@host") == Mask.read("*!*@HOST")


@pytest.mark.parametrize("text", ["", "a b", "a,b", "zoë", "a\n", "$", "$a:", "$x:y", "x" * (LONGEST + 1)])
def test_what_is_no_mask_is_told(text: str) -> None:
    assert Mask.read(text) is None


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_patterns_fit_as_in_a_shell(pattern: str, text: str) -> None:
    assert is_like(text, pattern) == fnmatchcase(text, pattern)


def test_no_pattern_takes_long() -> None:
    assert not is_like("a" * 300, "*a" * 49 + "*b")
