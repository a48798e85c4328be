"""Uploads that others look at, take over, or end."""

from __future__ import annotations

import os
import time

import pytest

from sockd_plugins.files.storage.sender import Sender
from tests.plugins.files.storage.conftest import Opener
from tests.plugins.files.storage.engines import Running, Worker, crash, refusal, wait

ANN = Sender("192.0.2.1", "user:ann", "ann")


class Connection:
    """Protocol that has an upload, and leaves it when it is told to."""

    def __init__(self, worker: Worker, **options: object) -> None:
        self.upload = worker.begin(**{"size": 10, "keep": True, **options})  # type: ignore[arg-type]
        self.told = 0
        self.upload.on_taken(self.leaves)

    def leaves(self) -> None:
        self.told += 1
        Running(self.upload.suspend())


def test_a_look_takes_nothing(worker: Worker) -> None:
    upload = worker.begin("a.txt", 10, ANN, keep=True, extra={"draft": "6"})
    wait(upload.write([b"12345"]))
    seen = wait(worker.engine.look(upload.id))
    assert (seen.received, seen.durable, seen.busy) == (5, 0, True)
    wait(upload.suspend())
    seen = wait(worker.engine.look(upload.id))
    assert (seen.facts, seen.durable, seen.busy) == (upload.facts, 5, False)
    assert seen.facts.extra == {"draft": "6"}
    assert (seen.sender.key, seen.sender.folder) == ("user:ann", "ann")
    assert 86400 - 60 < seen.expires - time.time() <= 86400
    wait(worker.find(upload.id, ANN).abandon())
    assert refusal(lambda: wait(worker.engine.look(upload.id))).startswith("unknown ")


def test_a_look_from_another_worker_sees_what_is_durable(opened: Opener) -> None:
    one, other = opened(), opened()
    upload = one.begin("a", 10, keep=True)
    wait(upload.write([b"123"]))
    assert wait(upload.sync()) == 3
    seen = wait(other.engine.look(upload.id))
    assert (seen.durable, seen.busy) == (3, True)
    wait(upload.abandon())


def test_the_list_has_what_can_be_resumed_and_what_this_worker_receives(opened: Opener) -> None:
    one, other = opened(), opened()
    uploads = [one.begin("kept", keep=True), one.begin("running"), other.begin("elsewhere", keep=True)]
    names = {upload.facts.name: (upload.kept, upload.busy) for upload in wait(one.engine.list())}
    assert names == {"kept": (True, True), "running": (False, True), "elsewhere": (True, True)}
    for upload in uploads:
        wait(upload.abandon())
    assert wait(one.engine.list()) == []


def test_the_newest_upload_of_a_name_and_a_sender_is_found(opened: Opener) -> None:
    worker = opened(keep_for=1000)
    older, newer = (worker.begin("a", 10, ANN, keep=True) for _ in range(2))
    others = [
        worker.begin("b", 10, ANN, keep=True),
        worker.begin("a", 10, Sender("192.0.2.1", "user:bob"), keep=True),
        worker.begin("a", 10, Sender("192.0.2.1"), keep=True),
        worker.begin("a", 10, ANN),
    ]
    for upload in (older, newer, *others):
        wait(upload.suspend())
    past = time.time() - 10
    os.utime(worker.folder / ".sockd-part" / f"{older.id}.state", (past, past))
    found = wait(worker.engine.search("a", Sender("2001:db8::1", "user:ann", "ann")))
    assert found is not None
    assert found.id == newer.id
    assert wait(worker.engine.search("c", ANN)) is None


def test_without_a_key_the_source_tells_whose_an_upload_is(worker: Worker) -> None:
    upload = worker.begin("a", 10, Sender("2001:db8::1"), keep=True)
    wait(upload.suspend())
    found = wait(worker.engine.search("a", Sender("2001:db8::2")))
    assert found is not None
    assert found.id == upload.id
    assert wait(worker.engine.search("a", Sender("192.0.2.1"))) is None


@pytest.mark.parametrize("sender", [None, Sender("192.0.2.1"), Sender("192.0.2.1", "user:bob")])
def test_an_upload_with_a_key_goes_on_with_the_same_key_alone(worker: Worker, sender: Sender | None) -> None:
    upload = worker.begin("a", 4, ANN, keep=True)
    wait(upload.suspend())
    assert refusal(lambda: worker.find(upload.id, sender)).startswith("denied ")
    again = worker.find(upload.id, Sender("198.51.100.7", "user:ann"))
    wait(again.write([b"some"]))
    assert wait(again.finish()).path == "ann/a"
    wait(again.abandon())


# taking over


def test_an_upload_in_use_is_busy_for_those_who_do_not_take_over(opened: Opener) -> None:
    one, other = opened(), opened()
    upload = one.begin(size=10, keep=True)
    for worker in (one, other):
        assert refusal(lambda w=worker: w.find(upload.id)).startswith("busy ")  # type: ignore[misc]
    wait(upload.abandon())


def test_an_upload_is_taken_from_a_connection_of_the_same_worker(worker: Worker) -> None:
    first = Connection(worker)
    wait(first.upload.write([b"12345"]))
    second = wait(worker.engine.find(first.upload.id, take_over=True))
    assert first.told == 1
    assert second.durable == 5
    wait(second.abandon())


def test_an_upload_is_taken_from_an_idle_connection_of_another_worker(opened: Opener) -> None:
    one, other = opened(), opened()
    first = Connection(one)
    wait(first.upload.write([b"12345"]))
    taking = Running(other.engine.find(first.upload.id, take_over=True))
    other.clock.advance(0.1)
    assert not taking.is_over
    one.clock.advance(0.5)
    assert first.told == 1
    other.clock.advance(0.1)
    assert taking.result().durable == 5
    wait(taking.result().abandon())
    assert one.parts() == []


def test_an_upload_is_taken_from_a_connection_that_writes_at_its_next_write(opened: Opener) -> None:
    one, other = opened(), opened()
    upload = one.begin(size=10, keep=True)
    wait(upload.write([b"12345"]))
    taking = Running(other.engine.find(upload.id, take_over=True))

    async def writes() -> None:
        async with upload:
            await upload.write([b"67890"])

    assert refusal(lambda: wait(writes())).startswith("taken ")
    other.clock.advance(0.1)
    assert taking.result().durable == 5
    assert (upload.is_taken, taking.result().is_taken) == (True, False)
    wait(taking.result().abandon())


@pytest.mark.parametrize("here", [True, False])
def test_a_connection_that_does_not_leave_keeps_its_upload(opened: Opener, here: bool) -> None:
    one = opened()
    other = one if here else opened()
    upload = one.begin(size=10, keep=True)
    taking = Running(other.engine.find(upload.id, take_over=True))
    for _ in range(40):
        other.clock.advance(0.1)
    assert refusal(taking.result).startswith("busy ")
    assert [name for name in one.parts() if name.endswith(".wanted")] == []
    wait(upload.abandon())


def test_a_wish_of_a_worker_that_crashed_costs_the_next_connection_nothing(worker: Worker) -> None:
    upload = worker.begin(size=10, keep=True)
    wait(upload.suspend())
    worker.engine.store.parts.want(upload.id)
    again = worker.find(upload.id)
    wait(again.write([b"12345"]))
    wait(again.abandon())
    assert worker.parts() == []


def test_a_file_that_is_finished_meanwhile_is_not_taken(worker: Worker) -> None:
    upload = worker.begin(size=4, keep=True)
    wait(upload.write([b"some"]))
    taking = Running(worker.engine.find(upload.id, take_over=True))
    assert wait(upload.finish()).name == "a"
    wait(upload.abandon())
    assert refusal(taking.result).startswith("unknown ")


# ending


def test_an_upload_is_ended_whoever_has_it(opened: Opener) -> None:
    one, other = opened(), opened()
    idle, here, there = one.begin(size=10, keep=True), Connection(one), Connection(other)
    wait(idle.suspend())
    wait(one.engine.end(idle.id))
    wait(one.engine.end(here.upload.id))
    ending = Running(one.engine.end(there.upload.id))
    other.clock.advance(0.5)
    one.clock.advance(0.1)
    assert ending.result() is None
    assert one.parts() == []
    assert refusal(lambda: wait(one.engine.end("0" * 16))).startswith("unknown ")


def test_an_upload_that_cannot_be_resumed_is_ended_with_its_connection(worker: Worker) -> None:
    connection = Connection(worker, keep=False)
    wait(worker.engine.end(connection.upload.id))
    assert worker.parts() == []


def test_no_timer_runs_when_no_upload_does(worker: Worker) -> None:
    upload = worker.begin()
    assert len(worker.clock.getDelayedCalls()) == 1
    wait(upload.abandon())
    assert worker.clock.getDelayedCalls() == []


def test_a_crash_leaves_an_upload_to_the_next_connection(worker: Worker) -> None:
    upload = worker.begin(size=10, keep=True)
    wait(upload.write([b"12345"]))
    wait(upload.sync())
    crash(upload)
    again = worker.find(upload.id)
    assert again.durable == 5
    wait(again.abandon())
