import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.text import decoded, printable

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\tb\r\nc\0", r"a\x09b\x0d\x0ac\x00"),
        ("\x7f", r"\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202edef", r"abc\u202edef"),
        ("one\u2028two\u2029", r"one\u2028two\u2029"),
        ("\udc80", r"\udc80"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["", "hello", r"C:\temp", "żółć Ελλάδα שלום العربية 漢字", "👋🏽", "a b"])
def test_ordinary_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(st.text(st.characters(codec=None) | st.sampled_from(BIDI)))
def test_the_result_is_one_line_without_controls_that_can_be_encoded(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)
    assert not set(BIDI) & set(shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(st.text())
def test_what_is_printable_stays_the_same_a_second_time(text: str) -> None:
    assert printable(printable(text)) == printable(text)


def test_bytes_that_are_no_utf8_are_written_out_and_the_rest_is_kept() -> None:
    assert decoded(b"gr\xfc\xc3\xbc\x1b\x9b") == r"gr\xfcü\x1b\x9b"


@given(st.binary())
def test_any_bytes_become_printable_text(data: bytes) -> None:
    shown = decoded(data)
    assert printable(shown) == shown
