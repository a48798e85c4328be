from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.errors import ValueFault
from sockd_plugins.users import passwords
from sockd_plugins.users.passwords import Password, hash_password
from sockd_plugins.users.users import Users

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJd6ZZe6HkQp8H0CMZQd7G7cnR2Jc2kM2sC5m3cD8f6a"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make new passwords cost nothing."""
    monkeypatch.setattr(passwords, "_LOG_N", 1)


def named(text: str) -> str:
    if not text:
        raise ValueFault("a name", "nothing")
    return text


def read(*lines: str) -> Users:
    return Users.read("\n".join(lines).encode(), named)


def test_a_password_fits_its_hash_and_no_other_does() -> None:
    found = read(f"ann:{hash_password('corréct')}")
    assert found.has_password("ann", "corréct")
    assert not found.has_password("ann", "correct")
    assert not found.has_password("bob", "corréct")


def test_a_hash_of_another_program_is_read() -> None:
    found = read(
        "ann:$scrypt$ln=4,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qZhEfTwICSXByfxC9mbEkzGSX5KmzAvMx/tJ1vfvyxg"
    )
    assert found.has_password("ann", "swordfish")


def test_two_hashes_of_a_password_differ() -> None:
    assert str(hash_password("a")) != str(hash_password("a"))


def test_a_user_may_have_several_passwords_and_keys() -> None:
    found = read(
        f"ann:{hash_password('old')}",
        "",
        "# a comment",
        f" ann : {hash_password('new')}",
        f"ann:{KEY} ann@laptop",
    )
    assert list(found) == ["ann"]
    assert found.has_password("ann", "old")
    assert found.has_password("ann", "new")
    (key,) = found["ann"].keys
    assert found.has_key("ann", key)
    assert not found.has_key("ann", key[:-1])
    assert not found.has_key("bob", key)


def test_a_password_without_end_is_not_worked_on() -> None:
    assert not read(f"ann:{hash_password('a')}").has_password("ann", "a" * 100_000)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("ann", "expected NAME:$scrypt$… or NAME:ssh-ed25519 AAAA…, found something else in line 2"),
        ("ann:secret", "expected NAME:$scrypt$… or NAME:ssh-ed25519 AAAA…, found something else in line 2"),
        ("ann:ssh-ed25519 AAAAA", "expected base64, found something else in line 2"),
        (":x", "expected a name, found nothing in line 2"),
        (
            "ann:$scrypt$ln=30,r=8,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
            "expected scrypt of at most 268435456 bytes, found ln=30,r=8,p=1 in line 2",
        ),
        (
            "ann:ssh-ed25519 AAAA",
            "expected a public key as in a .pub file, found ssh-ed25519 before other bytes in line 2",
        ),
        (
            "ann:restrict ssh-ed25519 AAAA",
            "expected NAME:$scrypt$… or NAME:ssh-ed25519 AAAA…, found something else in line 2",
        ),
    ],
)
def test_a_malformed_line_is_told_with_its_number_and_without_its_secret(line: str, text: str) -> None:
    with pytest.raises(ValueFault) as error:
        read("# first", line)
    assert str(error.value) == text


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueFault, match="expected users in UTF-8"):
        Users.read(b"\xff\xfe", named)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ValueFault):
        Users.read(text.encode("utf-8", "surrogatepass"), named)


def test_a_password_for_nobody_takes_the_work_of_a_real_one() -> None:
    assert Users()._no_password.log_n == Password().log_n == 14
    cheap, costly = (Password(log_n, 8, 1, bytes(16), bytes(32)) for log_n in (4, 5))
    assert read(f"ann:{costly}", f"bob:{cheap}")._no_password.log_n == 5
