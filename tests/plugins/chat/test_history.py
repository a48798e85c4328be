"""History of a chat: what is stored, found and bounded."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd_plugins.chat.history import upkeep
from sockd_plugins.chat.history.erasing import Bounds
from sockd_plugins.chat.history.history import History
from sockd_plugins.chat.history.tables import FILE
from sockd_plugins.chat.history.words import NoWord
from sockd_plugins.chat.hub.delivery import NotStored
from sockd_plugins.chat.hub.events import REMOVED, Said

T = TypeVar("T")

NOON = 1_764_331_200.0

FOR_EVER = Bounds(age=0)

Opened = Callable[..., History]


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of what is done at once."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result  # type: ignore[no-any-return]


def said(number: int, text: str = "hello", room: str = "lobby", name: str = "ann", account: str = "") -> Said:
    return Said(room, name, text, number, NOON + number, "said", account)


def messages(first: int, last: int, **fields: Any) -> list[Said]:
    return [said(number, f"message {number}", **fields) for number in range(first, last + 1)]


def numbers(found: Sequence[Said]) -> list[int]:
    return [each.number for each in found]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    histories: list[History] = []

    def open_one(bounds: Bounds = FOR_EVER, now: float = NOON) -> History:
        for earlier in histories:
            done(earlier.close())
        histories.append(History(tmp_path, bounds, Clock(), Logger(), lambda: now))
        done(histories[-1].open())
        return histories[-1]

    yield open_one
    for history in histories:
        done(history.close())


@pytest.fixture
def history(opened: Opened) -> History:
    return opened()


def on_disk(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.iterdir())


def test_messages_are_read_as_they_were_said(history: History, opened: Opened) -> None:
    told = [replace(said(1, "waves äöü 雪 🎈"), kind="action"), said(2, name="bob", account="bob")]
    done(history.keep(told))
    assert done(history.latest("lobby", 10)) == (2, tuple(told))
    assert done(opened().latest("lobby", 10)) == (2, tuple(told))


def test_a_room_that_nobody_has_spoken_in_begins_at_0(history: History) -> None:
    assert done(history.latest("lobby", 10)) == (0, ())


def test_all_spellings_of_a_room_are_one(history: History) -> None:
    done(history.keep([said(1, room="Garden")]))
    number, (found,) = done(history.latest("gARDEN", 10))
    assert (number, found.room) == (1, "gARDEN")


def test_messages_are_read_from_a_number_on_or_back_from_it_oldest_first(history: History) -> None:
    done(history.keep([*messages(1, 20), *messages(1, 5, room="other")]))
    assert numbers(done(history.latest("lobby", 3))[1]) == [18, 19, 20]
    assert numbers(done(history.since("lobby", 17, 10))) == [18, 19, 20]
    assert numbers(done(history.since("lobby", 0, 2))) == [1, 2]
    assert numbers(done(history.before("lobby", 4, 2))) == [2, 3]
    assert numbers(done(history.before("lobby", 1, 2))) == []
    assert numbers(done(history.between("lobby", 3, 9, 3))) == [4, 5, 6]
    assert numbers(done(history.between("lobby", 3, 9, 3, last=True))) == [6, 7, 8]
    assert numbers(done(history.between("lobby", -(10**30), 10**30, 2, last=True))) == [19, 20]
    assert done(history.since("nowhere", 0, 10)) == ()


@pytest.mark.parametrize(
    ("at", "found"),
    [
        (NOON, (0, 1)),
        (NOON + 1, (0, 2)),
        (NOON + 1.0004, (0, 2)),
        (NOON + 1.5, (1, 2)),
        (NOON + 19, (18, 20)),
        (NOON + 20, (19, 21)),
        (NOON + 99, (20, 21)),
    ],
)
def test_the_messages_around_a_time_are_found(history: History, at: float, found: tuple[int, int]) -> None:
    done(history.keep(messages(1, 20)))
    assert done(history.place("lobby", at)) == found
    assert done(history.place("nowhere", at)) == (0, 1)


def test_a_number_is_used_once_and_nothing_beside_it_is_stored(history: History) -> None:
    done(history.keep(messages(1, 3)))
    with pytest.raises(NotStored, match=r"^the history of lobby has a message 3 already$"):
        done(history.keep([said(1, room="other"), *messages(3, 4)]))
    assert done(history.latest("lobby", 10))[0] == 3
    assert done(history.latest("other", 10)) == (0, ())
    done(history.keep([said(1, room="other"), said(4)]))
    assert numbers(done(history.since("lobby", 0, 10))) == [1, 2, 3, 4]


def test_a_full_disk_refuses_messages_and_takes_later_ones(history: History) -> None:
    done(history.keep([said(1)]))
    with history._database.upkeep() as database:
        assert database is not None
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
    long = "x" * 4000
    with pytest.raises(NotStored, match=r"^the database history.sqlite cannot be used: .* disk is full$"):
        done(history.keep([said(number, long) for number in range(2, 9)]))
    assert done(history.latest("lobby", 10))[0] == 1
    with history._database.upkeep() as database:
        assert database is not None
        database.execute("PRAGMA max_page_count = 100000")
    done(history.keep([said(2, long)]))
    assert numbers(done(history.since("lobby", 0, 10))) == [1, 2]


def test_a_full_disk_at_the_commit_refuses_what_it_cannot_keep(small_disk: Path) -> None:
    history = History(small_disk, FOR_EVER, Clock(), Logger())
    kept = 0
    with suppress(NotStored):
        for number in range(1, 200):
            done(history.keep([said(number, "x" * 4000)]))
            kept = number
    assert 0 < kept < 199
    assert numbers(done(history.since("lobby", 0, 200))) == [*range(1, kept + 1)]
    done(history.close())


def test_a_damaged_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database " * 1000)
    history = History(tmp_path, FOR_EVER, Clock(), Logger())
    with pytest.raises(
        OSError, match=r"history\.sqlite cannot be used: file is not a database; move it away"
    ):
        done(history.open())
    with pytest.raises(NotStored, match=r"file is not a database; move it away, and a new one is begun$"):
        done(history.keep([said(1)]))
    (tmp_path / FILE).rename(tmp_path / "away")
    done(history.keep([said(1)]))
    done(history.close())


def test_a_database_of_a_later_version_is_left_alone(history: History, tmp_path: Path) -> None:
    done(history.close())
    database = sqlite3.connect(tmp_path / FILE)
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(OSError, match=r"history\.sqlite has version 7, and this program knows 1; install"):
        done(History(tmp_path, FOR_EVER, Clock(), Logger()).open())


def test_others_cannot_read_the_database(history: History, tmp_path: Path) -> None:
    done(history.keep([said(1)]))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


# Search


def test_words_are_found_from_their_beginning_in_any_case_and_without_accents(history: History) -> None:
    texts = ["deploy is done", "Deployment failed", "the Café", "nothing", "deploy the CAFE now"]
    done(history.keep([said(number, text) for number, text in enumerate(texts, 1)]))
    history.tidy()
    assert numbers(done(history.search("deploy", "lobby", 10))) == [5, 2, 1]
    assert numbers(done(history.search("cafe DEPLOY", "lobby", 10))) == [5]
    assert numbers(done(history.search("deploy", "lobby", 1))) == [5]
    assert numbers(done(history.search("deploy", "lobby", 10, before=5))) == [2, 1]
    assert done(history.search("absent", "lobby", 10)) == ()


def test_a_search_stays_in_its_room_unless_it_is_for_all(history: History) -> None:
    done(
        history.keep(
            [said(1, "a tulip", room="garden"), said(1, "tulips"), said(1, "tulip", room="garden-2")]
        )
    )
    history.tidy()
    assert [each.room for each in done(history.search("tulip", "Garden", 10))] == ["garden"]
    assert [each.room for each in done(history.search("tulip", "", 10))] == ["garden-2", "lobby", "garden"]


@pytest.mark.parametrize(
    "text",
    [
        *('"', '""', "a*", "*", "a OR b", "NOT", "AND AND", "NEAR(a b)", "text:a", "^a", "-a", "(a", "a + b"),
        *("{a b}:c", "'", "a\0b", "\x1b[1m", "room : lobby", "🎈", "雪", "\ud800", "$%&/()=", "-- a", ";"),
        *("a" * 5000, "a " * 5000),
    ],
)
def test_no_text_is_a_fault_of_a_search(history: History, text: str) -> None:
    done(history.keep([said(1, "a b")]))
    history.tidy()
    try:
        found = done(history.search(text, "lobby", 10))
    except NoWord as error:
        assert str(error) == "there is no word to search for"  # noqa: PT017
    else:
        assert set(numbers(found)) <= {1}


def test_the_index_catches_up_with_all_messages(opened: Opened) -> None:
    history = opened()
    for first in range(1, 1000, 100):
        done(history.keep(messages(first, first + 99)))
    assert done(history.search("message", "lobby", 10)) == ()
    history = opened()  # the one before has stored messages, and indexed none
    history.tidy()
    assert numbers(done(history.search("message", "lobby", 2))) == [1000, 999]


# Removal


def test_removed_text_is_nowhere_on_the_disk(history: History, tmp_path: Path) -> None:
    done(history.keep([*messages(1, 300), said(301, "the password is Zwiebelkuchen")]))
    assert on_disk(tmp_path, "Zwiebelkuchen")
    history.tidy()
    done(history.keep(messages(302, 600)))
    history.tidy()
    assert on_disk(tmp_path, "zwiebelkuchen")  # in the index
    assert done(history.redact("lobby", 301))
    assert done(history.search("Zwiebelkuchen", "lobby", 10)) == ()
    history.tidy()
    assert not on_disk(tmp_path, "Zwiebelkuchen")
    assert not on_disk(tmp_path, "wiebelkuchen")
    (found,) = done(history.between("lobby", 300, 302, 10))
    assert found == replace(said(301), text=REMOVED)
    assert numbers(done(history.search("message", "lobby", 1000))) == [
        *range(600, 301, -1),
        *range(300, 0, -1),
    ]


def test_text_that_was_removed_before_a_crash_is_cleaned_after_it(opened: Opened, tmp_path: Path) -> None:
    history = opened()
    done(history.keep([said(1, "Zwiebelkuchen")]))
    history.tidy()
    done(history.redact("lobby", 1))
    opened().tidy()
    assert not on_disk(tmp_path, "wiebelkuchen")


def test_a_message_that_is_not_there_cannot_be_removed(history: History) -> None:
    assert not done(history.redact("lobby", 1))
    done(history.keep([said(1)]))
    assert not done(history.redact("lobby", 2))
    assert done(history.redact("LOBBY", 1))
    assert done(history.redact("lobby", 1))


def test_a_person_is_forgotten_by_account_or_else_by_name(history: History, tmp_path: Path) -> None:
    done(
        history.keep(
            [
                said(1, "Zwiebelkuchen one", name="Ann"),
                said(2, "two", name="ann", account="bob"),
                said(3, "Zwiebelkuchen three", name="x", account="ANN"),
                said(4, "four", name="annette"),
            ]
        )
    )
    history.tidy()
    assert done(history.forget("aNN")) == 2
    history.tidy()
    found = done(history.since("lobby", 0, 10))
    assert [(each.name, each.account, each.text) for each in found] == [
        ("-", "", REMOVED),
        ("ann", "bob", "two"),
        ("-", "", REMOVED),
        ("annette", "", "four"),
    ]
    assert not on_disk(tmp_path, "wiebelkuchen")
    assert done(history.forget("ann")) == 0


def test_a_person_who_has_said_much_is_forgotten_whole(history: History) -> None:
    done(history.keep([said(number, name="ann" if number % 2 else "bob") for number in range(1, 12_001)]))
    assert done(history.forget("ann")) == 6000
    assert {each.name for each in done(history.since("lobby", 0, 20_000))} == {"-", "bob"}


# Bounds


def test_what_is_too_old_goes_and_numbers_go_on(opened: Opened, tmp_path: Path) -> None:
    done(opened().keep(messages(1, 500)))
    history = opened(Bounds(age=60.0), NOON + 559.5)
    history.tidy()
    assert done(history.latest("lobby", 1000)) == (500, (said(500, "message 500"),))
    history = opened(Bounds(age=60.0), NOON + 10_000)
    history.tidy()
    assert done(history.latest("lobby", 1)) == (500, ())
    with pytest.raises(NotStored):
        done(history.keep([said(500)]))
    done(history.keep([said(501)]))
    assert done(opened().latest("lobby", 1)) == (501, (said(501),))


def test_a_room_and_all_rooms_keep_their_last_messages(opened: Opened) -> None:
    history = opened(Bounds(age=0, room_size=50_000, size=80_000))
    for room in ("one", "two", "three"):
        done(history.keep([said(number, "x" * 897, room=room) for number in range(1, 101)]))
        history.tidy()
    kept = {room: numbers(done(history.since(room, 0, 1000))) for room in ("one", "two", "three")}
    assert kept == {"one": [], "two": [*range(71, 101)], "three": [*range(51, 101)]}


def test_the_disk_gets_back_what_was_removed(opened: Opened, tmp_path: Path) -> None:
    history = opened(Bounds(age=0, room_size=10_000))
    done(history.keep([said(number, f"{number} " * 200) for number in range(1, 1001)]))
    history.tidy()
    done(history.close())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 500_000


def test_removal_by_the_bounds_leaves_a_whole_index(opened: Opened) -> None:
    history = opened(Bounds(age=0, room_size=20_000))
    for first in range(1, 2001, 100):
        done(history.keep(messages(first, first + 99)))
        done(history.redact("lobby", first + 90))
        if first % 300 == 1:
            history.tidy()
    history.tidy()
    with history._database.changing() as database:
        assert database is not None
        database.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    kept = numbers(done(history.since("lobby", 0, 5000)))
    assert numbers(done(history.search("message", "lobby", 5000))) == [
        number for number in reversed(kept) if number % 100 != 91
    ]


def test_rooms_without_messages_are_forgotten_beyond_a_number(opened: Opened) -> None:
    history = opened(Bounds(age=60, rooms=10), NOON + 10_000)
    done(history.keep([said(1, room=f"room-{number}") for number in range(20)]))
    history.tidy()
    with history._database.reading() as database:
        assert database is not None
        assert database.execute("SELECT count(*) FROM rooms").fetchone() == (10,)


def test_pages_are_given_back_in_steps_from_the_first_day(history: History) -> None:
    with history._database.reading() as database:
        assert database is not None
        assert database.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_closed_history_stores_nothing(history: History, tmp_path: Path) -> None:
    done(history.close())
    with pytest.raises(NotStored, match=r"^the history is closed$"):
        done(history.keep([said(1)]))
    assert os.listdir(tmp_path) == [FILE]


def test_the_log_of_the_database_is_bounded_although_the_index_lags(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "MANY_CHANGES", 20)
    monkeypatch.setattr(upkeep, "_STEP", 1)
    for number in range(1, 201):
        done(history.keep([said(number)]))
        if number % 20 == 0:
            history._upkeep.step()  # as much as a busy thread has time for
    assert (tmp_path / f"{FILE}-wal").stat().st_size < 1_000_000
    assert done(history.search("hello", "lobby", 10)) == ()
    history.tidy()
    assert numbers(done(history.search("hello", "lobby", 1))) == [200]
