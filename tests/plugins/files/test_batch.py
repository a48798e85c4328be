"""Small files that are stored together."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
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


def test_the_names_of_a_batch_share_one_synchronization(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronized: list[Any] = []
    monkeypatch.setattr(os, "fsync", lambda file: synchronized.append(os.fstat(file).st_ino))
    store_all(store, Sender(), [small(str(number)) for number in range(10)])
    assert synchronized.count(os.stat(tmp_path).st_ino) == 1
    assert len(synchronized) == 11


def test_no_part_and_no_descriptor_stays_after_a_fault(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "writev", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store_all(store, Sender(), [small("a"), small("b")])
    assert os.listdir(tmp_path / PARTS) == []
    assert len(os.listdir("/proc/self/fd")) == before
