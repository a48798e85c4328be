from __future__ import annotations

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger

from sockd.reading import Unreadable
from sockd_plugins.chat.accounts import FRESH_SECONDS, Accounts
from sockd_plugins.users import passwords
from sockd_plugins.users.passwords import hash_password
from sockd_plugins.users.tries import NotTried


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make new passwords cost nothing."""
    monkeypatch.setattr(passwords, "_LOG_N", 1)


def done(work: Coroutine[Deferred[Any], Any, Any]) -> Any:
    found: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(found.append)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


class Kept:
    """File of accounts, and what a chat knows of it."""

    def __init__(self, folder: Path, **passwords: str) -> None:
        self.file = folder / "accounts.txt"
        self.clock = Clock()
        self.told: list[Any] = []
        self.write(**passwords)
        self.accounts = Accounts(
            self.file, execute, self.clock, Logger(observer=cast("ILogObserver", self.told.append))
        )
        done(self.accounts.load())

    def write(self, **passwords: str) -> None:
        self.put("".join(f"{name}:{hash_password(password)}\n" for name, password in passwords.items()))

    def put(self, text: str) -> None:
        self.file.write_text(text)
        os.utime(self.file, ns=(0, self.file.stat().st_mtime_ns + 1_000_000))

    def check(self, name: str, password: str, source: str = "-") -> bool:
        right: bool = done(self.accounts.check(name, password, source))
        return right


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path, Alice="wonder", bob="builder")


def test_a_password_is_right_for_its_account_in_any_spelling(kept: Kept) -> None:
    assert kept.check("alice", "wonder")
    assert kept.check("ALICE", "wonder")
    assert not kept.check("alice", "builder")
    assert not kept.check("eve", "wonder")


def test_an_account_keeps_its_name_and_those_that_look_like_it(kept: Kept) -> None:
    assert kept.accounts.keeper("ALICE") == "alice"
    assert kept.accounts.keeper("a1ice") == "alice"
    assert kept.accounts.keeper("b0b") == "bob"
    assert kept.accounts.keeper("alice_") == ""


def test_accounts_that_look_alike_keep_their_own_names(tmp_path: Path) -> None:
    kept = Kept(tmp_path, ann1="x", annl="y")
    assert kept.accounts.keeper("ann1") == "ann1"
    assert kept.accounts.keeper("annl") == "annl"
    assert kept.accounts.keeper("annI") == "annl" or kept.accounts.keeper("annI") == "ann1"


def test_a_new_account_and_a_new_password_hold_without_a_reload(kept: Kept) -> None:
    assert kept.check("alice", "wonder")
    kept.write(alice="land", carol="sings")
    kept.clock.advance(FRESH_SECONDS)
    kept.accounts.keeper("anything")  # a newcomer makes the chat look
    assert kept.accounts.keeper("carol") == "carol"
    assert kept.accounts.keeper("bob") == ""
    assert not kept.check("alice", "wonder")
    assert kept.check("alice", "land")


def test_a_login_looks_at_the_file_first(kept: Kept) -> None:
    kept.write(carol="sings")
    kept.clock.advance(FRESH_SECONDS)
    assert kept.check("carol", "sings")


def test_a_fault_in_the_file_is_told_once_and_leaves_the_accounts_as_they_were(kept: Kept) -> None:
    kept.put("alice:secret\n")
    for _ in range(3):
        kept.clock.advance(FRESH_SECONDS)
        assert kept.check("alice", "wonder")
    [event] = kept.told
    assert event["log_format"] == "accounts not read"
    assert event["reason"].endswith("found something else in line 1")
    assert "secret" not in event["reason"]
    kept.file.unlink()
    kept.clock.advance(FRESH_SECONDS)
    assert kept.check("alice", "wonder")
    assert kept.told[1]["reason"] == "no such file or directory"
    kept.write(bob="again")
    kept.clock.advance(FRESH_SECONDS)
    assert kept.check("bob", "again")
    assert not kept.check("alice", "wonder")


@pytest.mark.parametrize("line", ["a b:x", "zoë:x", "alice", "alice:secret", f"{'x' * 33}:x", ".a:x"])
def test_a_file_with_a_fault_is_not_served(tmp_path: Path, line: str) -> None:
    kept = Kept(tmp_path)
    kept.put(f"# accounts\n{line}\n")
    accounts = Accounts(kept.file, execute, kept.clock, Logger())
    with pytest.raises(Unreadable, match="in line 2"):
        done(accounts.load())


def test_who_guesses_is_told_to_wait(kept: Kept) -> None:
    for _ in range(10):
        assert not kept.check("alice", "guess", "192.0.2.1")
    with pytest.raises(NotTried, match="wait a minute"):
        kept.check("alice", "wonder", "192.0.2.1")
    assert kept.check("alice", "wonder", "192.0.2.2")
