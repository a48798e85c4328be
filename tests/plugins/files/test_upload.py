import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sockd_plugins.files.storage.names import candidates
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.storage.upload import Upload

GIB = 1 << 30
DATA = bytes(range(250)) * 400
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    store = Store.open(folder, Limits(GIB))
    yield store
    store.close()


def receive(
    store: Store, name: str = "a.bin", data: bytes = DATA, size: int | None = None, sha256: str | None = None
) -> Stored:
    upload = Upload.begin(store, Facts(name, size), Sender())
    try:
        upload.write(data[:1000])
        upload.write(data[1000:])
        return upload.commit(sha256)
    finally:
        upload.close()


def received(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != PARTS}


def parts(folder: Path) -> list[str]:
    return os.listdir(folder / PARTS)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(FileRefused) as caught:
        action()
    assert str(caught.value).isprintable()
    return caught.value.code


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize("sha256", [None, DIGEST])
def test_a_file_is_there_whole_with_its_digest_in_the_answer(
    store: Store, folder: Path, size: int | None, sha256: str | None
) -> None:
    stored = receive(store, size=size, sha256=sha256)
    assert stored == Stored("a.bin", len(DATA), DIGEST, f"sha256={DIGEST}", stored.id, "a.bin")
    assert received(folder) == {"a.bin": DATA}
    assert parts(folder) == []


def test_an_empty_file_is_a_file(store: Store, folder: Path) -> None:
    assert receive(store, data=b"", size=0).size == 0
    assert received(folder) == {"a.bin": b""}


def test_the_folder_is_for_its_owner_alone(store: Store, folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / PARTS).stat().st_mode & 0o777 == 0o700


def test_nothing_is_under_the_name_before_the_commit(store: Store, folder: Path) -> None:
    upload = Upload.begin(store, Facts("a.bin", len(DATA)), Sender())
    upload.write(DATA)
    assert received(folder) == {}
    upload.commit()
    assert received(folder) == {"a.bin": DATA}
    upload.close()


def test_a_name_that_is_taken_gets_a_number_and_what_exists_is_kept(store: Store, folder: Path) -> None:
    assert [receive(store, data=data).name for data in (b"1", b"2", b"3")] == [
        "a.bin",
        "a (2).bin",
        "a (3).bin",
    ]
    assert received(folder) == {"a.bin": b"1", "a (2).bin": b"2", "a (3).bin": b"3"}


@pytest.mark.parametrize("target", ["victim", "missing", "."])
def test_a_symlink_under_the_name_is_kept_and_not_followed(store: Store, folder: Path, target: str) -> None:
    victim = folder.parent / "victim"
    victim.write_bytes(b"precious")
    (folder / "a.bin").symlink_to(folder.parent / target)
    assert receive(store).name == "a (2).bin"
    assert (folder / "a.bin").readlink() == folder.parent / target
    assert victim.read_bytes() == b"precious"
    assert not (folder.parent / "missing").exists()
    assert (folder / "a (2).bin").read_bytes() == DATA


def test_a_thousand_files_of_one_name_are_enough(store: Store, folder: Path) -> None:
    *most, last = candidates("a.bin")
    for name in most:
        (folder / name).touch()
    assert receive(store).name == last
    assert refusal(lambda: receive(store, data=b"another")) == "exists"
    assert parts(folder) == []


@pytest.mark.parametrize(
    ("upload", "code"),
    [
        ({"sha256": "0" * 64}, "digest-mismatch"),
        ({"size": len(DATA) + 1}, "incomplete"),
        ({"size": len(DATA) - 1}, "incomplete"),
        ({"size": GIB + 1}, "too-large"),
    ],
)
def test_a_file_that_is_not_as_announced_leaves_nothing(
    store: Store, folder: Path, upload: dict[str, Any], code: str
) -> None:
    receive(store, data=b"old")
    assert refusal(lambda: receive(store, **upload)) == code
    assert received(folder) == {"a.bin": b"old"}
    assert parts(folder) == []


def test_a_file_without_a_size_is_stopped_at_the_largest_size(folder: Path) -> None:
    store = Store.open(folder, Limits(len(DATA), 0))
    assert receive(store).size == len(DATA)
    assert refusal(lambda: receive(store, data=DATA + b"!")) == "too-large"
    assert list(received(folder)) == ["a.bin"]
    store.close()


@pytest.mark.parametrize("size", [None, len(DATA)])
def test_the_reserve_of_the_disk_is_not_touched(folder: Path, size: int | None) -> None:
    store = Store.open(folder, Limits(GIB, 1 << 60))
    assert refusal(lambda: receive(store, size=size)) == "disk-full"
    assert received(folder) == {}
    assert parts(folder) == []
    store.close()


@pytest.mark.parametrize("size", [None, 4 * len(DATA)])
def test_a_full_disk_refuses_one_file_and_keeps_the_others(small_disk: Path, size: int | None) -> None:
    store = Store.open(small_disk, Limits(GIB))
    receive(store, "old")
    assert refusal(lambda: receive(store, "new", DATA * 4, size)) == "disk-full"
    assert received(small_disk) == {"old": DATA}
    assert parts(small_disk) == []
    assert receive(store, "small", b"fits").size == 4
    store.close()


def test_a_disk_without_inodes_is_full(small_disk: Path) -> None:
    store = Store.open(small_disk, Limits(GIB))

    def outcome(number: int) -> str:
        try:
            return receive(store, f"{number}", b"").name
        except FileRefused as refused:
            return refused.code

    outcomes = [outcome(number) for number in range(20)]
    assert outcomes[-1] == "disk-full"
    assert set(outcomes) == {"disk-full", *received(small_disk)}
    assert parts(small_disk) == []
    store.close()


@pytest.mark.parametrize("size", [None, len(DATA)])
def test_a_file_larger_than_the_process_may_write_is_too_large(
    store: Store, folder: Path, size: int | None
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(DATA) // 2, hard))
    try:
        code = refusal(lambda: receive(store, size=size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == "too-large"
    assert received(folder) == {}
    assert parts(folder) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EFBIG, "too-large"),
        (errno.EIO, "io"),
        (errno.EROFS, "io"),
    ],
)
@pytest.mark.parametrize(
    ("call", "nth"),
    [
        ("open", 1),
        ("writev", 1),
        ("writev", 2),
        ("link", 1),
        ("fsync", 1),
        ("fsync", 2),
    ],
)
def test_a_disk_that_fails_at_any_step_leaves_nothing(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int, number: int, code: str
) -> None:
    works = getattr(os, call)
    calls = 0

    def fails(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(number, os.strerror(number), "/secret/path")
        return works(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        with pytest.raises(FileRefused, match=os.strerror(number).lower()) as caught:
            receive(store, size=len(DATA))
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    assert received(folder) == {}
    assert parts(folder) == []
    assert receive(store).name == "a.bin"


def test_a_part_that_cannot_be_removed_is_swept_by_the_next_start(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        assert receive(store).name == "a.bin"
    assert len(parts(folder)) == 1
    Store.open(folder, Limits(GIB)).close()
    assert parts(folder) == []
    assert received(folder) == {"a.bin": DATA}


CRASH = """
    import os, pathlib, signal, sys
    from sockd_plugins.files.storage.sender import Sender
    from sockd_plugins.files.storage.state import Facts
    from sockd_plugins.files.storage.store import Limits, Store
    from sockd_plugins.files.storage.upload import Upload

    store = Store.open(pathlib.Path(sys.argv[1]), Limits(1 << 30))
    real = os.fsync
    left = int(sys.argv[2])
    def step(*args):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def fsync(fd):
        step()
        real(fd)
    os.fsync = fsync
    upload = Upload.begin(store, Facts("a.bin", 4), Sender())
    step()
    upload.write(b"da")
    step()
    upload.write(b"ta")
    upload.commit()
    step()
"""


@pytest.mark.parametrize(("step", "survives"), [(1, False), (2, False), (3, False), (4, True), (5, True)])
def test_a_process_that_is_killed_leaves_a_part_or_a_whole_file_and_the_next_start_sweeps(
    folder: Path, step: int, survives: bool
) -> None:
    script = [sys.executable, "-c", textwrap.dedent(CRASH), str(folder), str(step)]
    assert subprocess.run(script, check=False).returncode == -signal.SIGKILL
    assert received(folder) == ({"a.bin": b"data"} if survives else {})
    Store.open(folder, Limits(GIB)).close()
    assert received(folder) == ({"a.bin": b"data"} if survives else {})
    assert parts(folder) == []
