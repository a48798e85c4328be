from __future__ import annotations

from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd_plugins.files.access.credentials import (
    Credentials,
    from_authorization,
    is_token,
    make_token,
    split_token,
)

TOKEN = "wsf8cpyw3s4qiyfzmsr9gzfk"


def basic(text: str | bytes) -> str:
    return "Basic " + b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def test_each_token_is_another_one_and_is_recognised() -> None:
    tokens = {make_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(map(is_token, tokens))


@pytest.mark.parametrize("text", ["", "a", "ann", TOKEN[:-1], TOKEN + "a", TOKEN.upper(), TOKEN[:-1] + "1"])
def test_no_other_word_is_taken_for_a_token(text: str) -> None:
    assert not is_token(text)


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        (f"/t/{TOKEN}/a.txt", "a.txt"),
        (f"t/{TOKEN}/folder/a.txt", "folder/a.txt"),
        (f"//t/{TOKEN}//a.txt", "a.txt"),
        (f"/t/{TOKEN}/", ""),
        (f"/t/{TOKEN}", ""),
        (f"/t/{TOKEN}/a\nb", "a\nb"),
    ],
)
def test_a_token_is_found_at_the_beginning_of_a_path(path: str, rest: str) -> None:
    assert split_token(path) == (TOKEN, rest)


@pytest.mark.parametrize("path", ["/a.txt", "/t/a.txt", f"/x/t/{TOKEN}/a", f"/t/{TOKEN}a", f"/{TOKEN}/a", ""])
def test_another_path_stays_as_it_is(path: str) -> None:
    assert split_token(path) == (None, path)


@pytest.mark.parametrize(
    ("field", "credentials"),
    [
        (None, Credentials()),
        (f"Bearer {TOKEN}", Credentials(token=TOKEN)),
        (f"bearer   {TOKEN} ", Credentials(token=TOKEN)),
        (basic("ann:a:b ü"), Credentials(user="ann", password="a:b ü")),
        (basic(":"), Credentials(user="", password="")),
    ],
)
def test_the_field_authorization_has_a_token_or_a_user(field: str | None, credentials: Credentials) -> None:
    assert from_authorization(field) == credentials


@pytest.mark.parametrize(
    "field",
    [
        "",
        "Bearer",
        "Basic",
        "Basic !",
        basic("ann"),
        basic(b"\xff:a"),
        "Digest a=b",
        basic("a:" + "b" * 2000),
    ],
)
def test_a_malformed_field_is_refused_without_showing_it(field: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as error:
        from_authorization(field)
    assert field.partition(" ")[2] not in str(error.value) or not field.partition(" ")[2]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    split_token(text)
    with suppress(ValueError):
        from_authorization(text)
