import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sockd_plugins.files.notices.notice import Notice
from sockd_plugins.files.notices.outbox import LONGEST_PAUSE, Outbox

ALLOWED = 30.0


class Date:
    """Date that the test moves."""

    seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def date() -> Date:
    return Date()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def opened(directory: Path, date: Date, *recipients: str) -> Outbox:
    names = recipients or ("program",)
    return Outbox(directory.parent / "state", directory, dict.fromkeys(names, ALLOWED), date)


@pytest.fixture
def outbox(directory: Path, date: Date) -> Iterator[Outbox]:
    outbox = opened(directory, date)
    yield outbox
    outbox.close()


def published(directory: Path, date: Date, outbox: Outbox, id_: str = "one", name: str = "a.txt") -> Notice:
    """Write a notice, and give its file a name."""
    part = directory / f"part-{id_}"
    part.write_bytes(b"12345")
    notice = Notice(id_, name, 5, "sha256=00", "192.0.2.1", "", date.seconds)
    outbox.write(notice, part.stat().st_ino)
    part.rename(directory / name)
    return notice


def test_the_process_that_has_received_a_file_tells_of_it_at_once(
    directory: Path, date: Date, outbox: Outbox
) -> None:
    notice = published(directory, date, outbox)
    (claim,) = outbox.claim_file("program", "one")
    assert (claim.notice, claim.recipient, claim.attempts) == (notice, "program", 0)
    assert outbox.claim_file("program", "one") == []
    outbox.remove(claim)
    date.seconds += 1000
    assert outbox.claim_due("program", 10) == []


def test_another_process_tells_of_it_if_the_first_one_does_not(directory: Path, date: Date) -> None:
    first = opened(directory, date)
    published(directory, date, first)
    first.close()
    second = opened(directory, date)
    assert second.claim_due("program", 10) == []
    date.seconds += 61
    (claim,) = second.claim_due("program", 10)
    assert claim.notice.id == "one"
    second.close()


def test_a_delivery_that_was_cut_off_is_repeated_after_the_time_that_it_may_take(
    directory: Path, date: Date
) -> None:
    first = opened(directory, date)
    published(directory, date, first)
    assert len(first.claim_file("program", "one")) == 1
    first.close()
    second = opened(directory, date)
    date.seconds += ALLOWED
    assert second.claim_due("program", 10) == []
    date.seconds += 61
    assert len(second.claim_due("program", 10)) == 1
    second.close()


def test_each_recipient_is_told(directory: Path, date: Date) -> None:
    outbox = opened(directory, date, "program", "webhook")
    published(directory, date, outbox)
    (first,) = outbox.claim_file("program", "one")
    (second,) = outbox.claim_file("webhook", "one")
    outbox.remove(first)
    outbox.postpone(second, 5.0)
    date.seconds += 6
    assert outbox.claim_due("program", 10) == []
    (left,) = outbox.claim_due("webhook", 10)
    assert left.attempts == 1
    outbox.close()


def test_a_file_with_a_number_in_its_name_is_told_under_that_name(
    directory: Path, date: Date, outbox: Outbox
) -> None:
    (directory / "a.txt").write_bytes(b"other")
    part = directory / "part"
    part.write_bytes(b"12345")
    outbox.write(Notice("one", "a.txt", 5, "sha256=00", "-", "", date.seconds), part.stat().st_ino)
    part.rename(directory / "a (2).txt")
    (claim,) = outbox.claim_file("program", "one")
    assert claim.notice.path == "a (2).txt"


def test_nobody_is_told_of_a_file_that_has_no_name_and_its_notice_goes(
    directory: Path, date: Date, outbox: Outbox
) -> None:
    part = directory / "part"
    part.write_bytes(b"12345")
    outbox.write(Notice("one", "a.txt", 5, "sha256=00", "-", "", date.seconds), part.stat().st_ino)
    assert outbox.claim_file("program", "one") == []
    date.seconds += 3700
    assert outbox.claim_due("program", 10) == []
    part.rename(directory / "a.txt")
    date.seconds += 3700
    assert outbox.claim_due("program", 10) == []


def test_a_withdrawn_notice_is_gone(directory: Path, date: Date, outbox: Outbox) -> None:
    published(directory, date, outbox)
    outbox.withdraw("one")
    assert outbox.claim_file("program", "one") == []


def test_two_processes_do_not_take_the_same_notice(directory: Path, date: Date) -> None:
    first, second = opened(directory, date), opened(directory, date)
    for number in range(20):
        published(directory, date, first, f"id{number}", f"{number}.txt")
    date.seconds += 61
    taken = [outbox.claim_due("program", 1)[0].notice.id for _ in range(10) for outbox in (first, second)]
    assert len(set(taken)) == 20
    first.close()
    second.close()


def test_nobody_else_can_read_the_outbox(directory: Path, date: Date, outbox: Outbox) -> None:
    published(directory, date, outbox)
    folder = directory.parent / "state"
    assert os.listdir(folder)
    assert all(os.stat(folder / name).st_mode & 0o077 == 0 for name in os.listdir(folder))


def test_an_upload_that_a_crash_met_before_its_file_had_a_name_is_told_once(
    directory: Path, date: Date, outbox: Outbox
) -> None:
    (directory / "part").write_bytes(b"12345")
    notice = Notice("one", "a.txt", 5, "sha256=00", "-", "", date.seconds)
    outbox.write(notice, (directory / "part").stat().st_ino)
    assert published(directory, date, outbox) == replace(notice, host="192.0.2.1")  # it was resumed
    (claim,) = outbox.claim_file("program", "one")
    outbox.remove(claim)
    date.seconds += 1000
    assert outbox.claim_due("program", 10) == []


def test_a_clock_that_is_set_back_delays_no_notice(directory: Path, date: Date, outbox: Outbox) -> None:
    published(directory, date, outbox)
    (claim,) = outbox.claim_file("program", "one")
    outbox.postpone(claim, LONGEST_PAUSE)
    date.seconds -= 10
    assert outbox.claim_due("program", 10) == []
    date.seconds -= 86400
    assert len(outbox.claim_due("program", 10)) == 1
