"""Delivery of notices, with an outbox on a disk and recipients of the test."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from twisted.internet.task import Clock

from sockd_plugins.files.notices import delivery
from sockd_plugins.files.notices.delivery import Delivery
from sockd_plugins.files.notices.notice import NotDelivered, Notice
from sockd_plugins.files.notices.outbox import Outbox
from sockd_plugins.files.notices.program import Program
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored

PATIENCE = 60.0


class Log:
    """Logger that keeps what is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.came = Event()

    def warn(self, text: str, **values: Any) -> None:
        self.told.append((text, values))
        self.came.set()

    error = warn


class Recipient:
    """Recipient that does what a test wants, and keeps what it has taken."""

    seconds = 1.0

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self.work = work
        self.taken: list[str] = []
        self.came = Event()

    def deliver(self, notice: Notice, stopping: Event) -> None:
        self.work()
        self.taken.append(notice.id)
        self.came.set()


class Office:
    """Deliveries of a service, which are stopped at the end of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = Log()
        self.opened: list[Delivery] = []

    def opens(self, **recipients: Any) -> Delivery:
        outbox = Outbox(self.folder / "state", self.folder, dict.fromkeys(recipients, 1.0))
        logger: Any = self.log
        self.opened.append(Delivery(outbox, recipients, Clock(), logger))
        return self.opened[-1]

    def receives(self, delivery: Delivery, id_: str) -> None:
        part = self.folder / f"part-{id_}"
        part.write_bytes(b"12345")
        name = f"{id_}.txt"
        stored = Stored(name, 5, "00", "sha256=00", id_, name)
        delivery.write(stored, Sender("192.0.2.1"), part.stat().st_ino)
        part.rename(self.folder / name)
        delivery.deliver(id_)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    found = Office(tmp_path)
    yield found
    for each in found.opened:
        each.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def fail(error: Exception) -> None:
    raise error


def test_a_recipient_that_hangs_does_not_delay_the_others(office: Office) -> None:
    released = Event()
    stuck, quick = Recipient(lambda: released.wait(PATIENCE)), Recipient()
    notices = office.opens(webhook=stuck, program=quick)
    for number in range(5):
        quick.came.clear()
        office.receives(notices, f"id{number}")
        assert quick.came.wait(PATIENCE)
    assert sorted(quick.taken) == [f"id{number}" for number in range(5)]
    assert stuck.taken == []
    released.set()


def test_a_program_that_hangs_ends_with_the_deliveries(office: Office, tmp_path: Path) -> None:
    hanging = "import os, sys, time; open('began', 'w').write(str(os.getpid())); time.sleep(600)"
    program = Program((sys.executable, "-c", hanging), 600.0, tmp_path, "drop")
    notices = office.opens(program=program)
    office.receives(notices, "one")
    wait_until(lambda: bool((tmp_path / "began").exists() and (tmp_path / "began").read_text()))
    notices.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "began").read_text()), 0)
    back = Outbox(tmp_path / "state", tmp_path, {"program": 1.0})
    assert [claim.notice.id for claim in back.claim_due("program", 10)] == ["one"]
    back.close()


def test_a_fault_of_a_recipient_is_a_failed_attempt_and_ends_no_thread(office: Office) -> None:
    faulty = Recipient(lambda: fail(ValueError("a fault")))
    notices = office.opens(webhook=faulty)
    for number in range(5):  # more than there are threads
        office.log.came.clear()
        office.receives(notices, f"id{number}")
        assert office.log.came.wait(PATIENCE)
    text, values = office.log.told[0]
    assert text == "received file not told"
    assert (values["reason"], values["again_in"]) == ("ValueError: a fault", 10.0)


def test_a_notice_is_given_up_after_as_many_attempts_as_fit_into_three_days(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = [min(10.0 * 2.0**number, 3600.0) for number in range(delivery._MOST_ATTEMPTS)]
    assert 3 * 86400 - 3600 <= sum(pauses) <= 3 * 86400
    monkeypatch.setattr(delivery, "_MOST_ATTEMPTS", 0)
    notices = office.opens(webhook=Recipient(lambda: fail(NotDelivered("closed"))))
    office.receives(notices, "one")
    assert office.log.came.wait(PATIENCE)
    assert office.log.told[0][0] == "received file given up"


def test_what_a_recipient_that_is_gone_was_to_be_told_goes(office: Office) -> None:
    office.receives(office.opens(webhook=Recipient(lambda: fail(NotDelivered("closed")))), "one")
    assert office.log.came.wait(PATIENCE)
    office.opens(program=Recipient())
    back = Outbox(office.folder / "state", office.folder, {"webhook": 1.0}, lambda: 4e9)
    assert back.claim_due("webhook", 10) == []
    back.close()
