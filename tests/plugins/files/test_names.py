import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.text import printable
from sockd_plugins.files.storage.names import MAX_BYTES, MAX_COPIES, candidates, safe_name

FOLDER = Path("/srv/files")

likely = st.text(
    alphabet=" .-/\\aé\u0301\u202e\x00\x1b\u2028CONnul1:?~ﬁ\u200b\u200d\ufe0f☃\u3000", max_size=12
)
names = st.text() | likely | st.characters().map(lambda char: f"a{char}b")


@given(names)
def test_an_accepted_name_is_one_entry_of_the_folder(raw: str) -> None:
    try:
        name = safe_name(raw)
    except ValueError:
        return
    path = FOLDER / name
    assert path.parent == FOLDER
    assert path.resolve().parent == FOLDER
    assert 0 < len(name.encode()) <= MAX_BYTES
    assert not name.startswith((".", "-"))


@given(names)
def test_an_accepted_name_is_the_composed_form_and_stays_as_it_is(raw: str) -> None:
    try:
        name = safe_name(raw)
    except ValueError:
        return
    assert name == unicodedata.normalize("NFC", raw)
    assert safe_name(name) == name


@given(names)
def test_a_refusal_can_be_shown_as_it_is(raw: str) -> None:
    text = ""
    try:
        safe_name(raw)
    except ValueError as error:
        text = str(error)
    assert text.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "report.pdf",
        "Große Übersicht 2026 (3).tar.gz",
        "日本語.txt",
        "👩‍🚀.png",
        "a..b",
        "~",
        "console.log",
        "COM10",
        "nullable.txt",
        "Bildschirmfoto 9.41.00\u202fPM.png",
        "\u65e5\u672c\u3000\u8a9e.txt",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt",
        "\u0915\u094d\u200d\u0937.txt",
        "1\ufe0f\u20e3.txt",
        "x" * MAX_BYTES,
    ],
)
def test_ordinary_names_are_taken(name: str) -> None:
    assert safe_name(name) == name


@given(names)
def test_an_accepted_name_looks_like_no_other(raw: str) -> None:
    """An accepted name has visible characters that mean the same on every system."""
    try:
        name = safe_name(raw)
    except ValueError:
        return
    assert printable(name) == "".join(" " if char.isspace() else char for char in name)
    assert not set(name) & set('/\\:*?"<>|')


def test_a_decomposed_name_is_composed() -> None:
    assert safe_name("u\u0308ber") == "über"


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "empty"),
        ("/etc/passwd", "a path"),
        ("../up", "a path"),
        ("..\\up", "a path"),
        (".", "in front"),
        ("..", "in front"),
        (".profile", "in front"),
        ("-rf", "in front"),
        (" a", "in front"),
        ("\u3000a", "in front"),
        ("a.", "at the end"),
        ("a ", "at the end"),
        ("a\u00a0", "at the end"),
        ("a\0b", "a control character"),
        ("a\nb", "a control character"),
        ("a\x1b[2Jb", "a control character"),
        ("a\x85b", "a control character"),
        ("a\u2028b", "a line end"),
        ("a\udcffb", "half a surrogate pair"),
        ("invoice\u202efdp.exe", "writing direction"),
        ("a\u2067b", "writing direction"),
        ("a\u200fb", "writing direction"),
        ("é" * 101, "more than 200 bytes"),
        ("con", "a device"),
        ("NUL.txt", "a device"),
        ("Com1.tar.gz", "a device"),
        ("LPT².doc", "a device"),
        ("aux .h", "a device"),
        ("CONIN$", "a device"),
        ("con .tar.gz", "a device"),
        ("x.txt:y", "not every system takes"),
        ("x.txt::$DATA", "not every system takes"),
        ("NUL:x", "not every system takes"),
        ("C:x", "not every system takes"),
        ("a?b", "not every system takes"),
        ("a*b", "not every system takes"),
        ('a"b', "not every system takes"),
        ("<a>", "not every system takes"),
        ("a|b", "not every system takes"),
        ("a\u200bb", "is not seen"),
        ("a\ufeffb", "is not seen"),
        ("a\u00adb", "is not seen"),
        ("a\u200db", "is not seen"),
        ("a\u2060b", "is not seen"),
        ("a\ufe0fb", "is not seen"),
        ("a\u3164b", "is not seen"),
        ("a\U000e0041b", "is not seen"),
    ],
)
def test_a_name_that_means_something_else_is_refused_with_its_fault(name: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        safe_name(name)


@given(names)
def test_every_numbered_name_is_as_safe_as_the_first(raw: str) -> None:
    try:
        name = safe_name(raw)
    except ValueError:
        return
    tries = list(candidates(name))
    assert tries[0] == name
    assert len(set(tries)) == MAX_COPIES
    for candidate in (tries[1], tries[-1]):
        assert (FOLDER / candidate).resolve().parent == FOLDER
        assert len(candidate.encode()) <= 255


@pytest.mark.parametrize(
    ("name", "second"),
    [("a.txt", "a (2).txt"), ("a", "a (2)"), ("a.tar.gz", "a.tar (2).gz"), ("a b.c d", "a b (2).c d")],
)
def test_the_number_stands_in_front_of_the_extension(name: str, second: str) -> None:
    assert list(candidates(name))[1] == second
