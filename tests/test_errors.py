from __future__ import annotations

import pytest

from sockd.errors import in_words


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError(), "ValueError"),
        (ValueError("no\n  tape"), "ValueError: no tape"),
        (ValueError("\x1b[31mred"), "ValueError: \\x1b[31mred"),
    ],
)
def test_an_exception_of_a_plugin_is_one_printable_line(error: Exception, words: str) -> None:
    assert in_words(error) == words


def test_an_exception_that_has_no_words_is_told_by_its_class() -> None:
    assert in_words(Mute()) == "Mute"
