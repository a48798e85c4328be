from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockd_plugins.files.receipt.outbox import Outbox


class Date:
    """Date that a test sets."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def date() -> Date:
    return Date()


@pytest.fixture
def outbox(tmp_path: Path, date: Date) -> Iterator[Outbox]:
    found = Outbox(tmp_path, ("command", "webhook"), date)
    yield found
    found.close()


def test_the_errands_of_a_file_are_due_once_it_is_published(outbox: Outbox) -> None:
    outbox.note("u1", {"size": 1})
    assert outbox.take(60) is None
    assert outbox.next_due() is None
    outbox.release("u1", {"name": "a.txt"})
    assert outbox.next_due() == 0
    first, second = outbox.take(60), outbox.take(60)
    assert first is not None
    assert second is not None
    assert {first.target, second.target} == {"command", "webhook"}
    assert first.told == second.told == {"name": "a.txt"}
    assert outbox.take(60) is None
    outbox.done(first)
    outbox.done(second)
    assert outbox.next_due() is None


def test_an_errand_that_nobody_finished_is_due_again(outbox: Outbox, date: Date) -> None:
    outbox.note("u1", {})
    outbox.release("u1", {})
    taken = outbox.take(60)
    outbox.take(60)
    date.now += 60
    again = outbox.take(60)
    assert taken is not None
    assert again is not None
    assert again.number == taken.number


def test_an_errand_that_fails_waits_longer_each_time_up_to_an_hour(outbox: Outbox, date: Date) -> None:
    outbox.note("u1", {})
    outbox.release("u1", {})
    other = outbox.take(10**9)
    assert other is not None
    outbox.done(other)
    pauses = []
    for _ in range(14):
        errand = outbox.take(60)
        assert errand is not None
        pauses.append(outbox.failed(errand))
        assert outbox.take(60) is None
        assert outbox.next_due() == pauses[-1]
        date.now += pauses[-1]
    assert pauses[:4] == [2, 4, 8, 16]
    assert pauses[-1] == 3600


def test_a_file_that_was_not_published_has_no_errands(outbox: Outbox) -> None:
    outbox.note("u1", {})
    outbox.forget("u1")
    outbox.release("u1", {})
    assert outbox.take(60) is None
    assert outbox.unpublished() == []


def test_what_a_crash_has_interrupted_is_listed_until_it_is_decided(outbox: Outbox) -> None:
    outbox.note("u1", {"size": 1})
    outbox.note("u2", {"size": 2})
    outbox.note("u1", {"size": 1})  # the upload went on, and is published again
    assert outbox.unpublished() == [("u1", {"size": 1}), ("u2", {"size": 2})] or outbox.unpublished() == [
        ("u2", {"size": 2}),
        ("u1", {"size": 1}),
    ]
    outbox.release("u1", {})
    assert outbox.unpublished() == [("u2", {"size": 2})]
    assert outbox.take(60)
    assert outbox.take(60)
    assert outbox.take(60) is None


def test_a_note_survives_a_kill(outbox: Outbox, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from sockd_plugins.files.receipt.outbox import Outbox\n"
        "outbox = Outbox(Path(sys.argv[1]), ('command',))\n"
        "outbox.note('u1', {'size': 1})\n"
        "outbox.note('u2', {'size': 2})\n"
        "outbox.release('u2', {'name': 'b'})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False, timeout=60)
    assert outbox.unpublished() == [("u1", {"size": 1})]
    date = Outbox(tmp_path, ())
    errand = date.take(60)
    date.close()
    assert errand is not None
    assert errand.told == {"name": "b"}
