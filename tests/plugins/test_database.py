"""Databases that fail."""

import sqlite3
from collections.abc import Iterator
from os import sched_yield
from pathlib import Path
from threading import Thread

import pytest

from sockd_plugins import database
from sockd_plugins.files.access.tokens import FILE, Tokens
from sockd_plugins.files.storage.refused import FileRefused, disk_errors


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tokens]:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.01)
    found = Tokens(tmp_path)
    found.make()
    yield found
    found.close()


def test_a_database_that_another_process_keeps_is_named(tokens: Tokens, tmp_path: Path) -> None:
    (token,) = tokens.list()
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(FileRefused, match=r"^the database tokens.sqlite cannot be used: database is locked$"):
        spend(tokens, "u1")
    assert tokens.list() == [token]
    other.close()
    spend(tokens, "u1")


def test_readers_do_not_wait_for_another_process(
    tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 60.0)
    tokens.close()
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    spending = Thread(target=spend, args=(tokens, "u1"))
    spending.start()
    while not tokens._database._writer.lock.locked():
        sched_yield()
    (token,) = tokens.list()
    assert spending.is_alive()
    other.close()
    spending.join()
    assert (token.files, tokens.list()[0].files) == (0, 1)


def test_a_file_that_cannot_be_counted_for_want_of_room_finds_a_full_disk(tokens: Tokens) -> None:
    with tokens._database.changing() as connection:
        assert connection is not None
        connection.execute("PRAGMA max_page_count = 1")  # as many as it has
    with pytest.raises(FileRefused, match=r"database or disk is full$") as caught:
        spend_all(tokens)
    assert caught.value.code == "disk-full"
    (token,) = tokens.list()
    assert (token.size, token.files > 0) == (5 * token.files, True)


def spend_all(tokens: Tokens) -> None:
    for number in range(10_000):
        spend(tokens, f"u{number}")


def spend(tokens: Tokens, upload: str) -> None:
    with disk_errors():
        tokens.spend(tokens.list()[0].id, upload, "a", 5, "")
