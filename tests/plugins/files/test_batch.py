"""Small files that are stored together."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sockd_plugins.files.storage.batch import Small, store_all
from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.storage.stored import Stored
from tests.plugins.files.storage.engines import Worker, wait

LIMITS = Limits(1 << 20, folders=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path, LIMITS)
    yield store
    store.close()


def small(name: str, data: bytes = b"hello", **digests: str) -> Small:
    return Small(Facts(name, len(data)), [data], digests)


def told(results: list[Stored | FileRefused]) -> list[str]:
    return [result.code if isinstance(result, FileRefused) else result.path for result in results]


def in_the_folder(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and PARTS not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_each_file_is_stored_or_refused_as_if_it_had_come_alone(store: Store, tmp_path: Path) -> None:
    files = [
        small("a", b"1", sha256=hashlib.sha256(b"1").hexdigest()),
        small("wrong", b"2", sha256="0" * 64),
        small("large", bytes((1 << 20) + 1)),
        small("a", b"3"),
        small("folder/b", b"4"),
        small("folder/c", b""),
    ]
    results = store_all(store, Sender("192.0.2.1"), files)
    assert told(results) == ["a", "digest-mismatch", "too-large", "a (2)", "folder/b", "folder/c"]
    assert in_the_folder(tmp_path) == {"a": b"1", "a (2)": b"3", "folder/b": b"4", "folder/c": b""}
    assert os.listdir(tmp_path / PARTS) == []


def test_a_quota_counts_the_files_of_one_batch(tmp_path: Path) -> None:
    store = Store.open(tmp_path, Limits(1 << 20, quota=Quota(size=10)))
    results = store_all(store, Sender(), [small("a"), small("b"), small("c")])
    store.close()
    assert told(results) == ["a", "b", "quota"]


def test_a_source_that_may_have_one_unfinished_file_sends_many(tmp_path: Path) -> None:
    store = Store.open(tmp_path, Limits(1 << 20, quota=Quota(source_files=1, files=3)))
    results = store_all(store, Sender(), [small("a"), small("b"), small("c"), small("d")])
    store.close()
    assert told(results) == ["a", "b", "c", "quota"]


def test_a_disk_that_fails_at_the_names_leaves_none_of_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    broken = os.stat(tmp_path / "folder").st_ino
    fsync = os.fsync

    def fails(file: int) -> None:
        fsync(file)
        if os.fstat(file).st_ino == broken:
            raise OSError(errno.EIO, "the disk")

    monkeypatch.setattr(os, "fsync", fails)
    results = store_all(store, Sender(), [small("folder/a"), small("b"), small("folder/c")])
    assert told(results) == ["io", "b", "io"]
    assert in_the_folder(tmp_path) == {"b": b"hello"}


class Books:
    """Grant, notices and witness of the files of a test."""

    def __init__(self) -> None:
        self.spent: list[int] = []
        self.noticed: list[str] = []
        self.attested: list[str] = []
        self.delivered: list[str] = []

    def admit(self, name: str, size: int, coming: Sequence[int]) -> None:
        """Admit everything."""

    def go_on(self) -> None:
        return None

    def has_sent(self, name: str, size: int, digest: str) -> bool:
        """Know of nothing."""
        return False

    @contextmanager
    def spend(self, upload: str, name: str, size: int, digest: str) -> Iterator[None]:
        self.spent.append(size)
        try:
            yield
        except BaseException:
            self.spent.remove(size)
            raise

    def write(self, stored: Stored, sender: Sender, inode: int) -> None:
        self.noticed.append(stored.id)

    def withdraw(self, id: str) -> None:  # noqa: A002
        self.noticed.remove(id)

    def deliver(self, id: str) -> None:  # noqa: A002
        self.delivered.append(id)

    def stop(self) -> None:
        """Stop nothing."""

    def attest(self, stored: Stored, sender: Sender) -> None:
        self.attested.append(stored.path)


def test_nobody_has_paid_for_or_knows_of_files_whose_names_the_disk_has_lost(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    broken = os.stat(tmp_path / "folder").st_ino
    fsync = os.fsync

    def fails(file: int) -> None:
        if os.fstat(file).st_ino == broken:
            raise OSError(errno.EIO, "the disk")
        fsync(file)

    monkeypatch.setattr(os, "fsync", fails)
    books = Books()
    store.notices = store.witness = books
    files = [small("folder/a", b"1"), small("b", b"22"), small("folder/c", b"333")]
    results = store_all(store, Sender(grant=books), files)
    assert told(results) == ["io", "b", "io"]
    (stored,) = (result for result in results if isinstance(result, Stored))
    assert (books.spent, books.noticed, books.attested) == ([2], [stored.id], ["b"])


def test_a_file_that_the_disk_has_lost_is_no_duplicate_for_the_next_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: int) -> None:
        if os.fstat(file).st_ino == os.stat(tmp_path).st_ino:
            raise OSError(errno.EIO, "the disk")

    monkeypatch.setattr(os, "fsync", fails)
    books = Books()
    store.notices = store.witness = books
    assert told(store_all(store, Sender(grant=books), [small("a"), small("a")])) == ["io", "io"]
    assert (in_the_folder(tmp_path), books.spent, books.noticed, books.attested) == ({}, [], [], [])


def test_all_who_want_to_know_of_small_files_are_told_at_once(tmp_path: Path) -> None:
    worker, books = Worker(tmp_path), Books()
    worker.engine.store.notices = books
    files = [small("a", b"1"), small("wrong", sha256="0" * 64), small("b", b"2")]
    results = wait(worker.engine.store_small(files, Sender()))
    worker.engine.stop()
    assert books.delivered == [result.id for result in results if isinstance(result, Stored)]
    assert len(books.delivered) == 2


def test_the_names_of_a_batch_share_one_synchronization(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronized: list[Any] = []
    monkeypatch.setattr(os, "fsync", lambda file: synchronized.append(os.fstat(file).st_ino))
    store_all(store, Sender(), [small(str(number)) for number in range(10)])
    assert synchronized.count(os.stat(tmp_path).st_ino) == 1
    assert len(synchronized) == 11


def test_files_that_are_there_share_the_synchronization_of_their_names(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [small(f"outer/inner/{number}") for number in range(10)]
    store_all(store, Sender(), files)
    synchronized: list[Any] = []
    monkeypatch.setattr(os, "fsync", lambda file: synchronized.append(os.fstat(file).st_ino))
    results = store_all(store, Sender(), files)
    assert all(isinstance(result, Stored) and result.duplicate for result in results)
    folders = [tmp_path, tmp_path / "outer", tmp_path / "outer" / "inner"]
    assert [synchronized.count(os.stat(folder).st_ino) for folder in folders] == [1, 1, 1]
    assert len(synchronized) == 13, "and one for the data of each file"


def test_a_file_that_is_there_is_not_told_if_the_disk_fails_at_its_name(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_all(store, Sender(), [small("a"), small("b/c")])
    broken = os.stat(tmp_path).st_ino
    fsync = os.fsync

    def fails(file: int) -> None:
        fsync(file)
        if os.fstat(file).st_ino == broken:
            raise OSError(errno.EIO, "the disk")

    monkeypatch.setattr(os, "fsync", fails)
    results = store_all(store, Sender(), [small("a"), small("b/c"), small("d")])
    assert told(results) == ["io", "io", "io"]
    assert in_the_folder(tmp_path) == {"a": b"hello", "b/c": b"hello"}


def test_no_part_and_no_descriptor_stays_after_a_fault(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "writev", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store_all(store, Sender(), [small("a"), small("b")])
    assert os.listdir(tmp_path / PARTS) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fault_among_the_names_leaves_none_of_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    link = os.link
    named: list[Any] = []

    def fails(*names: Any, **folders: Any) -> None:
        if named:
            raise ZeroDivisionError
        link(*names, **folders)
        named.append(names[1])

    monkeypatch.setattr(os, "link", fails)
    books = Books()
    store.notices = books
    with pytest.raises(ZeroDivisionError):
        store_all(store, Sender(grant=books), [small("a"), small("b"), small("c")])
    assert (in_the_folder(tmp_path), books.spent, books.noticed) == ({}, [], [])
    assert os.listdir(tmp_path / PARTS) == []
    assert len(os.listdir("/proc/self/fd")) == before
