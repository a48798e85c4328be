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
        ("pay\u200bpal\ufeff\u00ad\u061c", r"pay\u200bpal\ufeff\xad\u061c"),
        ("a\U000e0041b\U000e0100", r"a\U000e0041b\U000e0100"),
        (
            "\u3164\uffa0\u115f\u1160\u2800\u034f\u17b4\u180b",
            r"\u3164\uffa0\u115f\u1160\u2800\u034f\u17b4\u180b",
        ),
        ("\ue000\U0010ffff\u0378", r"\ue000\U0010ffff\u0378"),
        ("a\u200db\u200c\ufe0f", r"a\u200db\u200c\ufe0f"),
        ("\u200d👩\u200d", "\\u200d👩\\u200d"),
    ],
)
def test_characters_that_a_terminal_would_obey_are_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        r"C:\temp",
        "żółć Ελλάδα שלום العربية 漢字",
        "👋🏽",
        "a b",
        "👩🏽\u200d💻 👩\u200d❤\ufe0f\u200d👨 1\ufe0f\u20e3 🇳🇴 ↔\ufe0f ‼\ufe0f",  # emoji
        "می\u200cخواهم بِ\u200cخ",  # noqa: RUF001  # Persian
        "क्\u200dष ന്\u200d র\u200d্য",  # Devanagari, Malayalam, Bengali
    ],
)
def test_ordinary_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_every_kind_of_space_is_shown_as_a_plain_one() -> None:
    assert printable("a\u00a0b\u3000c\u2009d\u202fe") == "a b c d e"


@given(st.text(st.characters(codec=None) | st.sampled_from(BIDI)))
def test_the_result_is_one_line_without_controls_that_can_be_encoded(text: str) -> None:
    shown = printable(text)
    assert not any(
        unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
        for character in shown.replace("\u200c", "").replace("\u200d", "")
    )
    assert not set(BIDI) & set(shown)
    assert not any(unicodedata.category(each) == "Zs" for each in shown.replace(" ", ""))
    assert len(shown.splitlines()) <= 1
    shown.encode()


JOINED = st.sampled_from(
    "\u200c\u200d\ufe0e\ufe0f\u094d\u0915\u0628\u064e\u061c\u2800❤👩🏽↔a1\u20e3\u00a0\u202e"
)


@given(st.text() | st.text(JOINED))
def test_printable_text_stays_as_it_is_a_second_time(text: str) -> None:
    assert printable(printable(text)) == printable(text)


def test_bytes_that_are_no_utf8_are_written_out_and_the_rest_is_kept() -> None:
    assert decoded(b"gr\xfc\xc3\xbc\x1b\x9b") == r"gr\xfcü\x1b\x9b"


@given(st.binary())
def test_any_bytes_become_printable_text(data: bytes) -> None:
    shown = decoded(data)
    assert printable(shown) == shown
