from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockd_plugins.files.access.credentials import make_token
from sockd_plugins.files.access.tokens import FILE, TokenGrant, Tokens
from sockd_plugins.files.storage.refused import FileRefused

DAY = 86400.0

DIGEST = "sha256=" + "0" * 64


class Date:
    """Date that a test sets."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def date() -> Date:
    return Date()


@pytest.fixture
def tokens(tmp_path: Path, date: Date) -> Iterator[Tokens]:
    found = Tokens(tmp_path / "state" / "files", date)
    yield found
    found.close()


def refusal(work: object, *args: object) -> tuple[str, str]:
    with pytest.raises(FileRefused) as error:
        work(*args)  # type: ignore[operator]
    return error.value.code, str(error.value)


def test_a_token_is_found_by_its_text_alone(tokens: Tokens) -> None:
    text, token = tokens.make(note="for ann")
    assert tokens.find(text) == token
    assert refusal(tokens.find, make_token()) == ("denied", "there is no such token")
    assert refusal(tokens.find, token.id) == ("denied", "there is no such token")


def test_without_any_token_nothing_is_made(tokens: Tokens, tmp_path: Path) -> None:
    assert refusal(tokens.find, make_token())[0] == "denied"
    assert tokens.list() == []
    assert tokens.get("12345678") is None
    assert list(tmp_path.iterdir()) == []


def test_the_text_of_a_token_is_not_stored(tokens: Tokens, tmp_path: Path) -> None:
    text, _ = tokens.make()
    for file in (tmp_path / "state" / "files").iterdir():
        assert text.encode() not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_token_expires(tokens: Tokens, date: Date) -> None:
    text, token = tokens.make(seconds=DAY)
    date.now += DAY - 1
    assert tokens.find(text) == token
    date.now += 1
    assert refusal(tokens.find, text) == ("expired", f"the token {token.id} has expired")


def test_what_was_sent_may_come_again_for_a_day_after_the_token_has_expired(
    tokens: Tokens, date: Date
) -> None:
    text, token = tokens.make(seconds=DAY)
    tokens.spend(token.id, "u1", "a", 8, DIGEST)
    date.now += DAY
    assert tokens.find_again(text).id == token.id
    grant = TokenGrant(tokens, token.id, late=True)
    grant.admit("a", 8, [])
    assert grant.has_sent("a", 8, DIGEST)
    expired = ("expired", f"the token {token.id} has expired")
    assert refusal(grant.admit, "b", 8, []) == expired
    assert refusal(grant.go_on) == expired
    with pytest.raises(FileRefused, match="has expired"), grant.spend("u2", "a", 8, DIGEST):
        pass
    date.now += DAY
    assert refusal(tokens.find_again, text) == expired


def test_an_upload_that_was_begun_in_time_may_end_later(tokens: Tokens, date: Date) -> None:
    _, token = tokens.make(seconds=DAY)
    grant = TokenGrant(tokens, token.id)
    date.now += DAY
    grant.go_on()
    with grant.spend("u1", "a", 8, DIGEST):
        pass


def test_a_token_that_was_ended_is_of_no_use_to_what_was_sent(tokens: Tokens) -> None:
    text, token = tokens.make(seconds=DAY)
    tokens.spend(token.id, "u1", "a", 8, DIGEST)
    tokens.end(token.id)
    assert refusal(tokens.find_again, text) == ("expired", f"the token {token.id} was ended")


def test_tokens_are_removed_a_month_after_their_end(tokens: Tokens, date: Date) -> None:
    _, expired = tokens.make(seconds=DAY)
    _, ended = tokens.make()
    _, used = tokens.make(max_files=1)
    tokens.spend(expired.id, "u1", "a", 8, DIGEST)
    tokens.spend(used.id, "u2", "a", 8, DIGEST)
    tokens.end(ended.id)
    date.now += 31 * DAY
    assert len(tokens.list()) == 3
    _, new = tokens.make()
    assert {token.id for token in tokens.list()} == {used.id, expired.id, new.id}
    date.now += DAY
    _, newer = tokens.make()
    assert {token.id for token in tokens.list()} == {used.id, new.id, newer.id}
    assert tokens.sent(used.id, "a")
    assert not tokens.sent(expired.id, "a")


def test_a_token_that_was_ended_is_refused_at_once_and_for_uploads_that_run(tokens: Tokens) -> None:
    text, token = tokens.make()
    assert tokens.end(token.id)
    ended = ("expired", f"the token {token.id} was ended")
    assert refusal(tokens.find, text) == ended
    assert refusal(tokens.spend, token.id, "u1", "a", 1, DIGEST) == ended
    assert not tokens.end("12345678")


def test_an_upload_that_began_in_time_may_end_later(tokens: Tokens, date: Date) -> None:
    _, token = tokens.make(seconds=DAY)
    date.now += 2 * DAY
    assert tokens.spend(token.id, "u1", "a", 1, DIGEST)


def test_a_token_for_one_file_is_used_up_by_it(tokens: Tokens) -> None:
    text, token = tokens.make(max_files=1)
    tokens.spend(token.id, "u1", "a", 5, DIGEST)
    used = ("expired", f"the token {token.id} is used up: 1 of 1 file sent")
    assert refusal(TokenGrant(tokens, token.id).admit, "b", 0, []) == used
    assert tokens.find(text).files == 1  # who has lost the answer may ask for it
    assert refusal(tokens.spend, token.id, "u2", "a", 1, DIGEST)[0] == "expired"
    found = tokens.get(token.id)
    assert found is not None
    assert (found.files, found.size) == (1, 5)


def test_a_file_that_was_sent_may_come_again(tokens: Tokens) -> None:
    _, token = tokens.make(max_size=10, max_files=1)
    grant = TokenGrant(tokens, token.id)
    tokens.spend(token.id, "u1", "a", 8, DIGEST)
    grant.admit("a", 8, [])
    grant.admit("a", 0, [])  # of unknown size
    grant.admit("a", 8, [8, 8, 8])
    for name, size, coming in (("b", 8, []), ("a", 9, []), ("a", 8, [8, 8, 8, 0]), ("a", 8, [30])):
        assert refusal(grant.admit, name, size, coming)[0] == "expired"
    assert grant.has_sent("a", 8, DIGEST)
    assert not grant.has_sent("a", 8, "sha256=1")
    assert not grant.has_sent("b", 8, DIGEST)
    tokens.end(token.id)
    assert refusal(grant.admit, "a", 8, [])[0] == "expired"


def test_no_more_bytes_than_granted_are_spent(tokens: Tokens) -> None:
    text, token = tokens.make(max_size=10)
    grant = TokenGrant(tokens, token.id)
    grant.admit("b", 10, [])
    assert refusal(grant.admit, "b", 11, [])[0] == "quota"
    tokens.spend(token.id, "u1", "a", 6, DIGEST)
    grant.admit("b", 4, [])
    told = f"the token {token.id} may send 10 bytes: 6 are sent, and 5 more do not fit"
    assert refusal(grant.admit, "b", 5, []) == ("quota", told)
    assert refusal(tokens.spend, token.id, "u2", "a", 5, DIGEST) == ("quota", told)
    tokens.spend(token.id, "u3", "a", 4, DIGEST)
    assert tokens.find(text).size == 10


def test_unfinished_uploads_may_be_some_times_what_is_left(tokens: Tokens) -> None:
    _, token = tokens.make(max_size=10, max_files=2)
    grant = TokenGrant(tokens, token.id)
    grant.admit("b", 10, [10, 10, 10])
    assert refusal(grant.admit, "b", 10, [10, 10, 10, 1])[0] == "quota"
    grant.admit("b", 1, [1] * 7)
    assert refusal(grant.admit, "b", 1, [1] * 8)[0] == "too-many"


def test_what_could_not_be_published_is_given_back(tokens: Tokens) -> None:
    text, token = tokens.make(max_files=1)
    with pytest.raises(OSError, match="disk"), TokenGrant(tokens, token.id).spend("u1", "a", 5, DIGEST):
        raise OSError("disk")
    assert tokens.find(text) == token
    with TokenGrant(tokens, token.id).spend("u1", "a", 5, DIGEST):
        pass
    assert tokens.find(text).files == 1


def test_an_upload_that_a_crash_met_in_publishing_is_counted_once(tokens: Tokens) -> None:
    _, token = tokens.make(max_files=1)
    assert tokens.spend(token.id, "u1", "a", 5, DIGEST)
    with TokenGrant(tokens, token.id).spend("u1", "a", 5, DIGEST):  # the next process, with the same upload
        pass
    found = tokens.get(token.id)
    assert found is not None
    assert found.files == 1


def test_workers_share_what_is_left(tokens: Tokens, tmp_path: Path) -> None:
    _, token = tokens.make(max_files=2)
    other = Tokens(tmp_path / "state" / "files")
    try:
        tokens.spend(token.id, "u1", "a", 1, DIGEST)
        other.spend(token.id, "u2", "a", 1, DIGEST)
        assert refusal(tokens.spend, token.id, "u3", "a", 1, DIGEST)[0] == "expired"
        assert refusal(other.spend, token.id, "u3", "a", 1, DIGEST)[0] == "expired"
    finally:
        other.close()


def test_no_kill_gives_more_than_was_granted(tokens: Tokens, tmp_path: Path) -> None:
    _, token = tokens.make(max_files=3)
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from sockd_plugins.files.access.tokens import Tokens\n"
        "Tokens(Path(sys.argv[1])).spend(sys.argv[2], sys.argv[3], 'a', 1, '')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    for upload in ("u1", "u2", "u3"):
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / "state" / "files", token.id, upload],
            check=False,
            timeout=60,
        )
    found = tokens.get(token.id)
    assert found is not None
    assert found.files == 3


def test_a_database_that_was_removed_or_replaced_is_noticed(tokens: Tokens, tmp_path: Path) -> None:
    text, _ = tokens.make()
    for file in (tmp_path / "state" / "files").iterdir():
        file.unlink()
    assert refusal(tokens.find, text)[0] == "denied"
    text, token = tokens.make()
    assert tokens.find(text) == token


def test_a_database_that_is_none_is_an_error_of_the_disk(tokens: Tokens, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "files"
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(OSError, match=r"the database tokens.sqlite cannot be used: file is not a database"):
        tokens.find(make_token())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_user_of_the_daemon(tokens: Tokens, tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    tokens.make()
    folder = tmp_path / "state" / "files"
    owners = {file.stat().st_uid for file in (folder, *folder.iterdir())}
    assert owners == {1234}


def test_only_the_latest_uploads_of_a_token_are_remembered(
    tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockd_plugins.files.access.tokens._REMEMBERED", 3)
    _, token = tokens.make()
    for number in range(10):
        tokens.spend(token.id, f"u{number}", "a", 1, DIGEST)
    with sqlite3.connect(tmp_path / "state" / "files" / FILE) as database:
        assert [row[0] for row in database.execute("SELECT upload FROM sent")] == ["u7", "u8", "u9"]
    database.close()
