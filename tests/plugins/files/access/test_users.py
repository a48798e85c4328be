from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.errors import ValueFault
from sockd_plugins.files.access.users import read_users, user_name


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("a/b:x", "expected the name of a user, without a path, found 'a/b' in line 2"),
        ("a b:x", "expected the name of a user, without spaces, found 'a b' in line 2"),
        (":x", "expected the name of a user, without a path, found '' in line 2"),
    ],
)
def test_the_name_of_a_user_is_that_of_a_folder(line: str, text: str) -> None:
    with pytest.raises(ValueFault) as error:
        read_users(f"# first\n{line}".encode())
    assert str(error.value) == text


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    with suppress(ValueFault):
        user_name(text)
