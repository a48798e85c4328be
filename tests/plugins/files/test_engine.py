import errno
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockd_plugins.files.storage import upload as uploads
from sockd_plugins.files.storage.direct import BLOCK
from sockd_plugins.files.storage.engine import LEAST_WINDOW, MOST_WINDOW, Engine, Incoming
from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import PARTS, Limits, Store

GIB = 1 << 30
MIB = 1 << 20
DATA = os.urandom(3 * MIB)
T = TypeVar("T")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


class Started:
    """Engine where nothing waits."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.clock = Clock()
        self.engine = Engine(self.clock)
        wait(self.engine.open(lambda: Store.open(folder, Limits(GIB, **limits))))

    def begin(self, name: str = "a", size: int | None = len(DATA), **options: Any) -> Incoming:
        return wait(self.engine.begin(Facts(name, size), Sender(), **options))

    def find(self, id_: str) -> Incoming:
        return wait(self.engine.find(id_))


def wait(awaited: Awaitable[T]) -> T:
    results: list[T] = []

    async def run() -> None:
        results.append(await awaited)

    failures: list[Any] = []
    Deferred.fromCoroutine(run()).addErrback(failures.append)
    for failure in failures:
        failure.raiseException()
    (result,) = results
    return result


@pytest.fixture
def started(folder: Path) -> Iterator[Started]:
    started = Started(folder)
    yield started
    started.engine.stop()


def breaks(upload: Incoming, data: bytes, *, fails: str | None = None) -> None:
    """Receive something, and lose the connection, if the disk does not fail before."""

    async def receive() -> None:
        async with upload:
            await upload.write([data])
            raise ConnectionError

    with pytest.raises(FileRefused if fails else ConnectionError) as caught:
        wait(receive())
    assert getattr(caught.value, "code", None) == fails


def parts(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / PARTS))


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(FileRefused) as caught:
        action()
    return caught.value.code


def test_an_upload_that_can_be_resumed_goes_on_where_it_is_durable(started: Started, folder: Path) -> None:
    first = started.begin(keep=True)
    breaks(first, DATA[:MIB])
    second = started.find(first.id)
    assert (second.durable, second.received, second.facts) == (MIB, MIB, Facts("a", len(DATA)))
    breaks(second, DATA[MIB : 2 * MIB])
    third = started.find(first.id)
    wait(third.write([DATA[2 * MIB :]]))
    assert wait(third.finish()).size == len(DATA)
    wait(third.abandon())
    assert (folder / "a").read_bytes() == DATA
    assert parts(folder) == []


def test_an_upload_that_cannot_be_resumed_is_removed_when_it_breaks(started: Started, folder: Path) -> None:
    upload = started.begin()
    breaks(upload, DATA)
    assert parts(folder) == []
    assert refusal(lambda: started.find(upload.id)) == "unknown"


def test_what_was_not_made_durable_is_dropped(started: Started) -> None:
    """A power cut may leave a file longer than its synchronized part, and wrong there."""
    upload = started.begin(keep=True)
    wait(upload.write([DATA[:MIB]]))
    assert wait(upload.sync()) == MIB
    wait(upload.write([b"not synchronized"]))
    upload._upload._part.close()
    again = started.find(upload.id)
    assert again.durable == MIB
    wait(again.write([DATA[MIB:]]))
    assert wait(again.finish()).size == len(DATA)
    wait(again.abandon())


def test_a_part_that_is_shorter_than_what_was_durable_is_an_error(started: Started, folder: Path) -> None:
    upload = started.begin(keep=True)
    breaks(upload, DATA[:MIB])
    (part,) = [name for name in parts(folder) if not name.endswith(".state")]
    os.truncate(folder / PARTS / part, 10)
    assert refusal(lambda: started.find(upload.id)) == "io"


@pytest.mark.parametrize("kept", [True, False])
def test_data_is_synchronized_every_few_megabytes(
    started: Started, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr(uploads, "SYNC_BYTES", 2 * MIB)
    upload = started.begin(size=None, keep=kept)
    durable = []
    for _ in range(5):
        wait(upload.write([bytes(MIB)]))
        durable.append(upload.durable // MIB)
    assert durable == [0, 2, 2, 4, 4]
    wait(upload.abandon())


def test_data_that_can_be_resumed_is_synchronized_each_second(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "SYNC_SECONDS", 0.0)
    monkeypatch.setattr(uploads, "_SYNC_SHARE", 0)
    upload = started.begin(keep=True)
    wait(upload.write([b"some"]))
    assert upload.durable == 4
    wait(upload.abandon())


def test_a_failed_synchronization_is_never_followed_by_one_that_seems_to_succeed(
    started: Started, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells an error once, and has dropped the data."""
    upload = started.begin(keep=True)
    wait(upload.write([DATA[:MIB]]))
    assert wait(upload.sync()) == MIB
    wait(upload.write([DATA[MIB : 2 * MIB]]))
    errors = iter([OSError(errno.EIO, os.strerror(errno.EIO))])
    works = os.fdatasync

    def fails_once(file: int) -> None:
        for error in errors:
            raise error
        works(file)

    monkeypatch.setattr(os, "fdatasync", fails_once)
    assert refusal(lambda: wait(upload.sync())) == "io"
    assert refusal(lambda: wait(upload.sync())) == "io"
    assert refusal(lambda: wait(upload.write([DATA[2 * MIB :]]))) == "io"
    breaks(upload, b"x", fails="io")
    again = started.find(upload.id)
    assert again.durable == MIB
    wait(again.write([DATA[MIB:]]))
    assert wait(again.finish()).size == len(DATA)
    wait(again.abandon())
    assert (folder / "a").read_bytes() == DATA


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_what_the_last_synchronization_has_lost_is_not_durable(
    started: Started, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The kernel tells an error of a file once: a second fsync(2) succeeds without the data."""
    upload = started.begin(keep=True)
    part = started.engine.store.parts.find(upload.id).name
    fsync = os.fsync

    def fails(file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").endswith(part):
            raise OSError(number, os.strerror(number))
        fsync(file)

    async def receive() -> None:
        async with upload:
            await upload.write([DATA])
            await upload.finish()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(FileRefused):
            wait(receive())
    again = started.find(upload.id)
    assert again.received == again.durable == 0
    wait(again.write([DATA]))
    wait(again.finish())
    wait(again.abandon())
    assert (folder / "a").read_bytes() == DATA


def test_an_upload_on_a_full_disk_goes_on_when_there_is_room(
    started: Started, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = started.begin(keep=True)
    wait(upload.write([DATA[:MIB]]))

    write = os.write

    def part_of_it(file: int, data: bytes) -> int:
        return write(file, data[:BLOCK])

    def no_room(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", part_of_it)
        patch.setattr(os, "writev", no_room)
        breaks(upload, DATA[MIB:], fails="disk-full")
    again = started.find(upload.id)
    assert again.durable == MIB
    wait(again.write([DATA[MIB:]]))
    wait(again.finish())
    wait(again.abandon())
    assert (folder / "a").read_bytes() == DATA


def test_memory_grows_only_while_windows_are_quick(started: Started) -> None:
    upload = started.begin(size=None)
    assert upload.window == LEAST_WINDOW
    for _ in range(10):
        wait(upload.write([bytes(BLOCK)]))
    assert upload.window == MOST_WINDOW
    started.clock.advance(0.2)
    wait(upload.write([bytes(BLOCK)]))
    assert upload.window == MOST_WINDOW
    for _ in range(10):
        started.clock.advance(1)
        wait(upload.write([bytes(BLOCK)]))
    assert upload.window == LEAST_WINDOW
    wait(upload.abandon())


# what a crash leaves


def test_a_large_window_ends_where_a_block_of_the_file_does(started: Started) -> None:
    upload = started.begin(size=None)
    for _ in range(10):
        wait(upload.write([b"x"]))
    assert upload.window == MOST_WINDOW - 10


def test_a_start_keeps_what_can_be_resumed_until_it_expires(folder: Path) -> None:
    first = Started(folder, keep_for=100)
    kept, other = first.begin(keep=True), first.begin()
    for upload in (kept, other):
        wait(upload.write([DATA[:MIB]]))
        wait(upload.sync())
        upload._upload._part.close()
    second = Started(folder, keep_for=100)
    assert len(parts(folder)) == 2
    breaks(second.find(kept.id), b"x")
    old = time.time() - 101
    os.utime(folder / PARTS / f"{kept.id}.state", (old, old))
    assert len(parts(folder)) == 2
    second.clock.advance(3600)
    wait(second.begin().abandon())
    assert parts(folder) == []
    first.engine.stop()
    second.engine.stop()


def test_an_upload_in_use_does_not_expire(started: Started, folder: Path) -> None:
    upload = started.begin(size=4, keep=True)
    os.utime(folder / PARTS / f"{upload.id}.state", (0, 0))
    Started(folder, keep_for=1).engine.stop()
    wait(upload.write([b"some"]))
    assert wait(upload.finish()).name == "a"
    wait(upload.abandon())


def test_a_state_without_a_part_is_removed(folder: Path) -> None:
    (folder / PARTS).mkdir(parents=True)
    (folder / PARTS / f"{'0' * 16}.state").write_bytes(b"0")
    Started(folder).engine.stop()
    assert parts(folder) == []


def test_a_part_that_was_published_is_not_resumed(started: Started, folder: Path) -> None:
    """A crash between the link and the end of the part."""
    upload = started.begin(size=4, keep=True)
    wait(upload.write([b"some"]))
    wait(upload.finish())
    upload._upload._part.close()
    assert refusal(lambda: started.find(upload.id)) == "unknown"
    Started(folder).engine.stop()
    assert parts(folder) == []
    assert (folder / "a").read_bytes() == b"some"


@pytest.mark.parametrize("content", [b"", b"x" * 30, b"%020d\n[]" % 0, b'%020d\n{"name": 1, "more": 2}' % 0])
def test_a_damaged_state_is_not_resumed(started: Started, folder: Path, content: bytes) -> None:
    upload = started.begin(keep=True)
    breaks(upload, b"some")
    (folder / PARTS / f"{upload.id}.state").write_bytes(content)
    assert refusal(lambda: started.find(upload.id)) == "unknown"


def test_a_part_is_removed_only_while_its_name_is_its_own(started: Started, folder: Path) -> None:
    upload = started.begin()
    (part,) = parts(folder)
    (folder / PARTS / part).unlink()
    (folder / PARTS / part).write_bytes(b"of another program")
    assert refusal(lambda: wait(upload.finish())) == "incomplete"
    wait(upload.abandon())
    assert (folder / PARTS / part).read_bytes() == b"of another program"


def test_a_file_in_the_place_of_a_part_is_not_published(started: Started, folder: Path) -> None:
    upload = started.begin(size=None)
    (part,) = parts(folder)
    (folder / PARTS / part).unlink()
    (folder / PARTS / part).write_bytes(b"of another program")
    assert refusal(lambda: wait(upload.finish())) == "io"
    wait(upload.abandon())
    assert os.listdir(folder) == [PARTS]


# the process is killed at each system call

CALLS = ("open", "writev", "pwrite", "fsync", "fdatasync", "link", "unlink", "close", "fstat")
WHOLE = os.urandom(3000)


def receive_until(folder: Path, step: int, tell: int) -> None:
    """Receive a file in a process that is killed before a system call; tell what a sender would be told."""
    left = step

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counting

    store = Store.open(folder, Limits(GIB, quota=Quota(size=GIB)))
    write = os.write
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    upload = uploads.Upload.begin(store, Facts("a", len(WHOLE)), Sender(), keep=True)
    write(tell, f"{upload.id}\n0\n".encode())
    for start in range(0, len(WHOLE), 1000):
        upload.write(WHOLE[start : start + 1000])
        write(tell, b"%d\n" % upload.sync())
    upload.commit()
    write(tell, b"stored\n")
    upload.close()


def killed_at(folder: Path, step: int) -> tuple[list[str], bool]:
    """Return what the process has told, and whether it was killed."""
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        try:
            receive_until(folder, step, tell)
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told) as lines:
        said = lines.read().splitlines()
    return said, os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_process_that_is_killed_at_any_system_call_keeps_what_it_has_told(tmp_path: Path) -> None:
    step = 0
    killed = True
    while killed:
        step += 1
        folder = tmp_path / f"{step}"
        said, killed = killed_at(folder, step)
        stored = (folder / "a").exists()
        assert not stored or (folder / "a").read_bytes() == WHOLE, step
        store = Store.open(folder, Limits(GIB))
        if "stored" in said:
            assert stored, step
        elif said and not stored:
            upload = uploads.Upload.resume(store, said[0])
            assert upload.durable >= int(said[-1]), step
            upload.write(WHOLE[upload.durable :])
            assert upload.commit().name == "a", step
            upload.close()
            assert (folder / "a").read_bytes() == WHOLE, step
        if said:
            assert set(parts(folder)) <= {".stored"}, step
        store.close()
    assert step > 30


def test_an_upload_goes_on_from_any_offset_that_has_come(started: Started, folder: Path) -> None:
    first = started.begin(keep=True)
    breaks(first, DATA[:MIB])
    second = wait(started.engine.find(first.id, at=1000))
    assert (second.received, second.durable) == (1000, 1000)
    breaks(second, DATA[1000:2000])
    assert refusal(lambda: wait(started.engine.find(first.id, at=2001))) == "incomplete"
    third = wait(started.engine.find(first.id, at=1500))
    wait(third.write([DATA[1500:]]))
    wait(third.finish())
    wait(third.abandon())
    assert (folder / "a").read_bytes() == DATA
