"""Files in folders."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from sockd_plugins.files.storage import kernel, tally
from sockd_plugins.files.storage.folders import open_inside
from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.names import safe_path
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.storage.upload import Upload
from tests.plugins.files.storage.conftest import Opener
from tests.plugins.files.storage.engines import GIB, Worker, refusal, wait

AT_FDCWD = -100  # renameat2(2)
RENAME_EXCHANGE = 2

ANN = Sender("192.0.2.1", "user:ann", "users/ann")


@pytest.fixture
def worker(opened: Opener) -> Worker:
    return opened(folders=True, unverified="unverified")


@pytest.mark.parametrize("path", ["a", "a/b", "a b/c.txt", "/".join("abcdefgh" * 4)])
def test_a_relative_path_of_plain_names_is_accepted(path: str) -> None:
    assert safe_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "./a", "a\\b", "a/.hidden", "a/-rf"),
        *("a/b\0c", "a/NUL/b", "/".join("a" * 33), "/".join(["x" * 199] * 6), f"{PARTS}/a", "a/b\n", "C:/a"),
    ],
)
def test_a_path_that_could_mean_another_place_is_refused(path: str, worker: Worker) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        safe_path(path)
    assert refusal(lambda: worker.begin(path)).startswith("bad-name expected ")


def test_a_path_is_refused_where_files_have_plain_names(opened: Opener) -> None:
    worker = opened()
    assert refusal(lambda: worker.begin("a/b")) == "bad-name expected a plain file name, found a path: a/b"
    assert worker.receive("b", b"1", ANN).path == "users/ann/b"


def test_folders_are_made_when_the_file_is_whole(worker: Worker) -> None:
    upload = worker.begin("a/b/c.txt", 4)
    wait(upload.write([b"some"]))
    assert os.listdir(worker.folder / "unverified") == []
    assert not (worker.folder / "a").exists()
    stored = wait(upload.finish())
    wait(upload.abandon())
    assert (stored.name, stored.path) == ("a/b/c.txt", "a/b/c.txt")
    assert worker.receive("a/b/c.txt", b"more").name == "a/b/c (2).txt"
    assert worker.received() == {"a/b/c.txt": b"some", "a/b/c (2).txt": b"more"}


def test_a_sender_has_a_folder_of_its_own_and_is_told_names_within(worker: Worker) -> None:
    stored = worker.receive("x/a", b"1", ANN)
    assert (stored.name, stored.path) == ("x/a", "users/ann/x/a")
    stored = worker.receive("x/b", b"2", ANN, verified=False)
    assert (stored.name, stored.path) == ("unverified/x/b", "users/ann/unverified/x/b")
    assert set(worker.received()) == {"users/ann/x/a", "users/ann/unverified/x/b"}


def test_folders_have_the_permissions_of_the_one_around_them(worker: Worker) -> None:
    worker.folder.chmod(0o750)
    worker.receive("a/b/c", b"")
    assert stat.S_IMODE((worker.folder / "a" / "b").stat().st_mode) == 0o750


@pytest.mark.parametrize("kind", ["symlink", "dangling", "file", "fifo"])
def test_a_path_through_another_file_is_refused_before_the_first_byte(
    worker: Worker, tmp_path: Path, kind: str
) -> None:
    place = worker.folder / "a"
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        place.write_bytes(b"precious")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(tmp_path / ("elsewhere" if kind == "symlink" else "missing"))
    assert refusal(lambda: worker.begin("a/b")) == "exists expected a folder, found something else: a"
    assert os.listdir(tmp_path / "elsewhere") == []
    assert worker.parts() == []


def test_a_link_that_comes_while_the_file_comes_is_not_followed(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (worker.folder / "a").mkdir()
    upload = worker.begin("a/b", 4)
    wait(upload.write([b"some"]))
    (worker.folder / "a").rmdir()
    (worker.folder / "a").symlink_to(tmp_path / "elsewhere")
    assert refusal(lambda: wait(upload.finish())) == "exists expected a folder, found something else: a"
    wait(upload.abandon())
    assert os.listdir(tmp_path / "elsewhere") == []


def outcome(store: Store, path: str) -> str:
    with ExitStack() as at_end:
        try:
            upload = Upload.begin(store, Facts(path, 0), Sender())
            at_end.callback(upload.close)
            upload.commit()
        except FileRefused as refused:
            return refused.code
        return "stored"


def test_no_file_leaves_the_directory_while_folders_and_links_are_swapped(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "in", Limits(GIB, folders=True))
    (tmp_path / "elsewhere" / "c").mkdir(parents=True)
    (tmp_path / "in" / "b").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    stop = threading.Event()

    def swap() -> None:
        names = [os.fsencode(tmp_path / "in" / name) for name in ("b", "link")]
        while not stop.is_set():
            kernel._renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)

    swapping = threading.Thread(target=swap)
    swapping.start()
    codes: list[str] = []
    try:
        while (codes.count("stored") < 20 or codes.count("exists") < 20) and len(codes) < 5000:
            codes.append(outcome(store, f"b/c/{len(codes)}"))
    finally:
        stop.set()
        swapping.join()
    assert os.listdir(tmp_path / "elsewhere" / "c") == []
    assert os.listdir(tmp_path / "elsewhere") == ["c"]
    assert set(codes) == {"stored", "exists"}
    store.close()


def test_no_descriptor_stays_open(worker: Worker) -> None:
    folder = os.open(worker.folder, os.O_RDONLY)
    (worker.folder / "file").touch()
    before = len(os.listdir("/proc/self/fd"))
    os.close(open_inside(folder, "a/b/c"))
    for path in ("missing/b", "file/b", "a/missing"):
        with pytest.raises(OSError, match=r"No such file|expected a folder"):
            open_inside(folder, path, make=False)
    worker.receive("a/b/c/d", b"1")
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(folder)


# the ledger


def test_files_in_folders_count(opened: Opener) -> None:
    one, other = (opened(folders=True, quota=Quota(size=100)) for _ in range(2))
    one.receive("a/b/1", bytes(40))
    other.receive("a/c/2", bytes(40), ANN)
    assert refusal(lambda: one.begin("3", 21)) == (
        "quota the folder may hold 100 bytes: 80 are stored, 0 are being received, and 21 more do not fit"
    )
    (one.folder / "a" / "b" / "1").unlink()
    one.receive("3", bytes(60))
    assert refusal(lambda: other.begin("4", 1)).startswith("quota ")


def test_a_folder_that_others_remove_or_bring_is_counted_anew(opened: Opener, tmp_path: Path) -> None:
    worker = opened(folders=True, quota=Quota(size=100, files=10))
    worker.receive("a/b/1", bytes(60))
    assert refusal(lambda: worker.begin("2", 50)).startswith("quota ")
    (worker.folder / "a").rename(tmp_path / "a")
    wait(worker.begin("2", 50).abandon())
    (tmp_path / "a" / "b" / "2").write_bytes(bytes(20))
    (tmp_path / "a").rename(worker.folder / "again")
    assert "80 are stored" in refusal(lambda: worker.begin("2", 50))


def test_a_folder_that_is_kept_from_the_service_does_not_count_and_does_not_stop_it(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = opened(folders=True, quota=Quota(size=100))
    (worker.folder / "secret").mkdir()
    works = os.open

    def denied(path: str, *args: int, **options: int) -> int:
        if path == "secret":
            raise PermissionError(13, "Permission denied")
        return works(path, *args, **options)

    monkeypatch.setattr(os, "open", denied)
    assert worker.receive("a", bytes(50)).name == "a"


def test_a_damaged_count_is_taken_anew(opened: Opener) -> None:
    worker = opened(folders=True, quota=Quota(size=100))
    worker.receive("a/b", bytes(60))
    for content in (b"", b"{", b"[]", b'{"": [1]}', b'{"": [["x"], 0, 0, []]}', b"\xff"):
        (worker.folder / PARTS / ".stored").write_bytes(content)
        assert "60 are stored" in refusal(lambda: worker.begin("c", 50))


def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each folder be one of many, and a second be long."""
    monkeypatch.setattr(tally, "_FEW", 0)
    monkeypatch.setattr(tally, "_LOOK_SECONDS", 1e9)


def test_among_many_folders_each_file_of_a_worker_counts_at_once(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(monkeypatch)
    one, other = (opened(folders=True, quota=Quota(size=1000)) for _ in range(2))
    for number, worker in enumerate([one, other, other, one] * 3):
        worker.receive(f"a/{number % 3}/{number % 2}/{number}", bytes(10))
        for each in (one, other):
            assert f"{10 * number + 10} are stored" in refusal(lambda each=each: each.begin("x", 1001))  # type: ignore[misc]
    assert len((one.folder / PARTS / ".stored").read_bytes().splitlines()) == 11


def test_among_many_folders_the_changes_of_others_are_seen_a_second_later(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(monkeypatch)
    worker = opened(folders=True, quota=Quota(size=1000))
    worker.receive("a/b/c", bytes(10))
    (worker.folder / "a" / "b" / "d").write_bytes(bytes(5))
    os.utime(worker.folder / "a" / "b", ns=(1, 1))
    assert "10 are stored" in refusal(lambda: worker.begin("x", 1001))
    worker.engine.store.ledger._tally._look_at = 0.0
    assert "15 are stored" in refusal(lambda: worker.begin("x", 1001))
    (worker.folder / "new").mkdir()
    (worker.folder / "new" / "e").write_bytes(bytes(5))
    os.utime(worker.folder, ns=(1, 1))
    assert "20 are stored" in refusal(lambda: worker.begin("x", 1001))


def test_half_a_count_among_many_folders_is_taken_anew(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(monkeypatch)
    worker = opened(folders=True, quota=Quota(size=1000))
    worker.receive("a/b/c", bytes(10))
    place = worker.folder / PARTS / ".stored"
    whole = place.read_bytes()
    for length in range(len(whole)):
        place.write_bytes(whole[:length])
        assert "10 are stored" in refusal(lambda: worker.begin("x", 1001))
