"""Uploads between two requests."""

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockd_plugins.files.storage.engine import Engine, Incoming
from sockd_plugins.files.storage.finished import NOTES
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.storage.sweep import sweep

DATA = os.urandom(100_000)
ANN = Sender("192.0.2.1", "user:ann")
MIB = 1 << 20
T = TypeVar("T")


class Started:
    """Engine where nothing waits."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.engine = Engine(self.clock)
        done(self.engine.open(lambda: Store.open(folder, Limits(1 << 30))))

    def begins(self, data: bytes = b"", name: str = "a", sender: Sender = ANN) -> str:
        """Begin an upload with some data, and leave it to the next request."""

        async def begin() -> str:
            upload = await self.engine.begin(Facts(name, len(DATA)), sender, keep=True)
            async with self.engine.parking.begun(upload):
                await upload.write([data])
                return upload.id

        return done(begin())

    def goes_on(self, id_: str, data: bytes = b"", sender: Sender = ANN) -> Incoming:
        async def go_on() -> Incoming:
            async with self.engine.parking.found(id_, sender) as upload:
                await upload.write([data])
                return upload

        return done(go_on())

    def finishes(self, id_: str) -> None:
        async def finish() -> None:
            async with self.engine.parking.found(id_, ANN) as upload:
                await upload.finish(noted=True)

        done(finish())

    def looks(self, id_: str) -> int:
        """Return the durable offset."""
        return done(self.engine.look(id_)).durable


def done(awaited: Awaitable[T]) -> T:
    async def run() -> T:
        return await awaited

    results: list[T] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(run()).addCallbacks(results.append, failures.append)
    for failure in failures:
        failure.raiseException()
    return results.pop()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path / "in")
    yield started
    done(started.engine.parking.close())
    started.engine.stop()


def code(action: Any, *args: Any) -> str:
    with pytest.raises(FileRefused) as caught:
        action(*args)
    return caught.value.code


def test_a_request_goes_on_without_reading_the_part_again(started: Started) -> None:
    id_ = started.begins(DATA[:10])
    first = started.goes_on(id_, DATA[10:20])
    assert started.goes_on(id_, DATA[20:30]) is first
    assert first.received == 30


def test_what_came_is_durable_at_the_end_of_its_request(started: Started) -> None:
    id_ = started.begins(DATA[:10])
    assert started.looks(id_) == 10
    assert started.goes_on(id_, DATA[10:20]).durable == 20


def test_a_request_is_made_durable_once(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = started.begins(DATA[:10])
    synced = syncs(monkeypatch)
    started.goes_on(id_, DATA[10:20])
    assert [name.partition("-")[0] for name in synced] == [id_, f"{id_}.state"]
    started.goes_on(id_)
    assert len(synced) == 2


def syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are synchronized from now on."""
    synced: list[str] = []
    fdatasync = os.fdatasync

    def sync(file: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}")))
        fdatasync(file)

    monkeypatch.setattr(os, "fdatasync", sync)
    return synced


@pytest.mark.parametrize(
    "tells", [lambda engine, id_: engine.look(id_), lambda engine, id_: engine.find(id_, ANN)]
)
def test_an_offset_that_a_killed_process_has_recorded_is_durable_before_it_is_told(
    started: Started, monkeypatch: pytest.MonkeyPatch, tells: Callable[[Engine, str], Awaitable[object]]
) -> None:
    id_ = started.begins(DATA[:10])
    done(started.engine.parking.close())
    synced = syncs(monkeypatch)
    told = done(tells(started.engine, id_))
    assert synced == [f"{id_}.state"]
    if isinstance(told, Incoming):
        done(told.abandon())


def test_an_upload_is_closed_when_no_request_comes(started: Started) -> None:
    files = open_files()
    id_ = started.begins(DATA[:10])
    started.clock.advance(19)
    assert open_files() == files + 2
    started.clock.advance(1)
    assert open_files() == files
    assert started.goes_on(id_, DATA[10:20]).received == 20


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_last_of_many_uploads_are_kept_open(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockd_plugins.files.storage.parking._MOST", 2)
    files = open_files()
    for number in range(5):
        started.begins(name=str(number))
    assert open_files() == files + 4


def test_others_can_have_an_upload_that_waits(started: Started) -> None:
    id_ = started.begins(DATA[:10])
    assert not done(started.engine.look(id_)).busy
    other = Started(started.folder)
    assert other.goes_on(id_, DATA[10:20]).received == 20
    assert started.goes_on(id_, DATA[20:30]).received == 30
    assert other.goes_on(id_, DATA[30:]).received == len(DATA)
    assert other.goes_on(id_).facts.name == "a"
    started.finishes(id_)
    assert (started.folder / "a").read_bytes() == DATA
    assert code(other.goes_on, id_) == "unknown"
    other.engine.stop()


def test_what_a_killed_process_has_added_does_not_count(started: Started) -> None:
    id_ = started.begins(DATA[:10])
    other = Started(started.folder)
    upload = done(other.engine.find(id_, ANN))
    done(upload.write([b"lost"]))
    upload._upload._part.close()  # as the kernel does
    assert started.goes_on(id_, DATA[10:]).received == len(DATA)
    started.finishes(id_)
    assert (started.folder / "a").read_bytes() == DATA
    other.engine.stop()


def test_a_size_that_another_process_was_told_counts(started: Started) -> None:
    async def begin() -> str:
        upload = await started.engine.begin(Facts("a"), ANN, keep=True)
        async with started.engine.parking.begun(upload):
            return upload.id

    async def declare() -> None:
        async with other.engine.parking.found(id_, ANN) as upload:
            await upload.declare(10)

    other = Started(started.folder)
    id_ = done(begin())
    done(declare())
    assert started.goes_on(id_).facts.size == 10
    other.engine.stop()


def test_an_upload_that_was_removed_is_gone_for_those_that_wait(started: Started) -> None:
    id_ = started.begins(DATA[:10])
    done(started.engine.end(id_))
    assert code(started.goes_on, id_) == "unknown"
    assert [name for name in os.listdir(started.folder / PARTS) if "-" in name] == []


def test_another_connection_takes_an_upload_that_waits(started: Started) -> None:
    id_ = started.begins(DATA[:10])
    taken = done(started.engine.find(id_, ANN, take_over=True))
    assert taken.durable == 10
    done(taken.abandon())


def test_another_sender_cannot_go_on(started: Started) -> None:
    id_ = started.begins(DATA[:10])
    assert code(started.goes_on, id_, b"", Sender("192.0.2.1", "user:bob")) == "denied"
    started.clock.advance(20)
    assert code(started.goes_on, id_, b"", Sender("192.0.2.1")) == "denied"
    assert started.goes_on(id_, DATA[10:20]).received == 20


def test_what_was_answered_survives_the_end_of_the_process(started: Started) -> None:
    id_ = started.begins(DATA[:10])
    started.goes_on(id_, DATA[10:20])
    other = Started(started.folder)
    assert other.looks(id_) == 20
    assert other.goes_on(id_).received == 20
    other.engine.stop()


def test_what_another_process_has_written_anew_is_read_again(started: Started) -> None:
    id_ = started.begins(DATA[:10] + b"another end")
    other = Started(started.folder)
    upload = done(other.engine.find(id_, ANN, at=10))
    done(upload.write([DATA[10:21]]))
    done(upload.suspend())
    assert upload.durable == 21
    started.goes_on(id_, DATA[21:])
    started.finishes(id_)
    found = done(started.engine.finished(id_, ANN))
    assert found is not None
    assert found.stored.sha256 == hashlib.sha256(DATA).hexdigest()
    other.engine.stop()


def test_a_state_of_an_earlier_version_is_understood(started: Started) -> None:
    id_ = started.begins(DATA[:10])
    started.clock.advance(20)
    state = started.folder / PARTS / f"{id_}.state"
    offset, rest = state.read_bytes().split(b"\n")
    state.write_bytes(b"\n".join((offset, b"%020d 1e6e0f4c-0000-0000-0000-000000000000" % 10, rest)))
    assert started.goes_on(id_).received == 10


def test_what_a_failing_disk_has_lost_is_not_answered(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = started.begins(DATA[:10])

    def fails(file: int) -> None:
        raise OSError(5, "")

    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", fails)
        assert code(started.goes_on, id_, DATA[10:20]) == "io"
    assert started.goes_on(id_).received == 10


def test_a_disk_that_fails_between_two_requests_leaves_nothing_open(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_, files = started.begins(DATA[:10]), open_files()

    def fails(file: int, size: int, offset: int) -> bytes:
        raise OSError(5, "")

    with monkeypatch.context() as failing:
        failing.setattr(os, "pread", fails)
        assert code(started.goes_on, id_) == "io"
    assert open_files() == files - 2
    assert started.goes_on(id_).received == 10


def test_a_finished_upload_is_remembered_for_a_while(started: Started) -> None:
    id_ = started.begins(DATA)
    started.finishes(id_)
    found = done(started.engine.finished(id_, ANN))
    assert found is not None
    assert (found.facts.name, found.stored.name, found.stored.size) == ("a", "a", len(DATA))
    assert found.stored.id == id_
    assert found.sender == ANN
    assert code(lambda: done(started.engine.finished(id_, Sender("192.0.2.1", "user:bob")))) == "denied"
    assert code(started.goes_on, id_) == "unknown"
    note = started.folder / PARTS / NOTES / id_
    for age, there in ((86_000, True), (87_000, False)):
        os.utime(note, (note.stat().st_mtime - age,) * 2)
        sweep(started.engine.store.parts)
        assert note.exists() == there
    assert done(started.engine.finished(id_, ANN)) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"facts": {}}', b'{"facts": {"x": 1}, "stored": {}}']
)
def test_a_note_that_a_crash_has_cut_is_no_note(started: Started, content: bytes) -> None:
    id_ = started.begins(DATA)
    started.finishes(id_)
    (started.folder / PARTS / NOTES / id_).write_bytes(content)
    assert done(started.engine.finished(id_, ANN)) is None


def test_notes_are_no_unknown_files(started: Started) -> None:
    started.finishes(started.begins(DATA))
    assert sweep(started.engine.store.parts) == []


def test_a_closed_service_keeps_nothing_open(started: Started) -> None:
    files = open_files()
    id_ = started.begins(DATA[:10])
    done(started.engine.parking.close())
    assert open_files() == files
    assert started.looks(id_) == 10
    started.goes_on(id_, DATA[10:20])
    assert open_files() == files
