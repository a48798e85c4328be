from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.shelf import Shelf
from sockd_plugins.files.storage.store import PARTS, Limits, Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    store = Store.open(folder, Limits(1 << 30, folders=True))
    yield store
    store.close()


@pytest.fixture
def shelf(store: Store) -> Shelf:
    return Shelf(store)


def test_files_and_folders_are_seen_and_nothing_else(shelf: Shelf, folder: Path) -> None:
    (folder / "a").write_bytes(b"data")
    (folder / "deep").mkdir()
    (folder / "link").symlink_to("a")
    os.mkfifo(folder / "pipe")
    found = shelf.look("a")
    assert found is not None
    assert (found.size, found.is_folder) == (4, False)
    assert [shelf.look(name) for name in ("link", "pipe", "none", "a/b")] == [None] * 4
    assert sorted(shelf.list("") or ()) == ["a", "deep"], f"{PARTS} is not shown"
    assert shelf.list("none") is None


def test_a_link_is_not_followed_on_the_way(shelf: Shelf, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_bytes(b"data")
    (folder / "way").symlink_to(tmp_path / "outside")
    assert shelf.look("way/a") is None
    assert shelf.list("way") is None
    with pytest.raises(FileRefused):
        shelf.make_folder("way/new")
    assert os.listdir(tmp_path / "outside") == ["a"]


def test_a_sender_stays_in_its_folder(store: Store, folder: Path) -> None:
    (folder / "a").write_bytes(b"data")
    shelf = Shelf(store, "ann")
    assert shelf.look("a") is None
    shelf.make_folder("deep/er")
    assert (folder / "ann" / "deep" / "er").is_dir()


def test_another_file_of_the_name_is_left_alone(shelf: Shelf, folder: Path) -> None:
    (folder / "a").write_bytes(b"ours")
    found = shelf.look("a")
    assert found is not None
    os.rename(folder / "a", folder / "b")
    (folder / "a").write_bytes(b"another")
    os.utime(folder / "a", (1, 2))
    shelf.remove("a", found.identity)
    shelf.set_times("a", found.identity, 3, 4)
    with pytest.raises(FileRefused):
        shelf.rename("a", found.identity, "c")
    assert (folder / "a").read_bytes() == b"another"
    assert (folder / "a").stat().st_mtime == 2


def test_renaming_replaces_nothing(shelf: Shelf, folder: Path) -> None:
    (folder / "a").write_bytes(b"ours")
    (folder / "b").write_bytes(b"another")
    found = shelf.look("a")
    assert found is not None
    assert shelf.rename("a", found.identity, "b") == "b (2)"
    assert shelf.rename("b (2)", found.identity, "new/c") == "new/c"
    assert (folder / "b").read_bytes() == b"another"
    assert (folder / "new" / "c").read_bytes() == b"ours"
