import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sockd_plugins.files.storage import tally
from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.parts import Entry, Parts
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender, Share
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.storage.upload import Upload

GIB = 1 << 30
MIB = 1 << 20
Opener = Callable[..., Store]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens the store as each worker does."""
    stores = []

    def open_store(**quota: int) -> Store:
        store = Store.open(tmp_path / "in", Limits(GIB, quota=Quota(**quota), unverified="unverified"))
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


def begin(store: Store, size: int | None, source: str = "192.0.2.1", **options: Any) -> Upload:
    return Upload.begin(store, Facts("a", size), Sender(source), **options)


def receive(store: Store, size: int, *, verified: bool = True) -> None:
    upload = begin(store, size)
    upload.write(bytes(size))
    upload.commit(verified=verified)
    upload.close()


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(FileRefused) as caught:
        action()
    return f"{caught.value.code} {caught.value}"


def test_what_is_announced_counts_for_all_workers_before_its_first_byte(opened: Opener) -> None:
    one, other = opened(size=100), opened(size=100)
    first = begin(one, 60)
    assert refusal(lambda: begin(other, 41)) == (
        "quota the folder may hold 100 bytes: 0 are stored, 60 are being received, and 41 more do not fit"
    )
    second = begin(other, 40)
    first.close()
    third = begin(other, 60)
    second.close()
    third.close()


def test_what_any_worker_has_stored_counts(opened: Opener) -> None:
    one, other = opened(size=100, files=3), opened(size=100, files=3)
    receive(one, 50)
    receive(other, 10, verified=False)
    assert refusal(lambda: begin(one, 41)).startswith("quota the folder may hold 100 bytes: 60 are stored")
    receive(other, 40)
    assert refusal(lambda: begin(one, 0)) == (
        "quota the folder may hold 3 files: 3 are stored, 0 are being received"
    )


def test_files_that_others_remove_or_add_are_counted_anew(opened: Opener, tmp_path: Path) -> None:
    store = opened(size=100)
    receive(store, 90)
    assert refusal(lambda: begin(store, 50)).startswith("quota ")
    (tmp_path / "in" / "a").unlink()
    receive(store, 50)
    (tmp_path / "in" / "other").write_bytes(bytes(50))
    os.utime(tmp_path / "in")
    assert refusal(lambda: begin(store, 1)).startswith("quota ")


def test_the_count_is_not_taken_anew_for_each_file(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(size=GIB)
    counted: list[int] = []

    count = tally._count

    def counting(folder: int, path: str, mark: list[int]) -> Any:
        counted.append(folder)
        return count(folder, path, mark)

    monkeypatch.setattr(tally, "_count", counting)
    for _ in range(10):
        receive(store, 10)
    assert len(counted) <= 2


def test_a_thousand_uploads_are_known_without_reading_their_names_anew(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(size=GIB)
    uploads = [begin(store, 1000) for _ in range(100)]
    read: list[str] = []
    works = Parts._entry

    def entry(parts: Parts, name: str) -> Entry | None:
        read.append(name)
        return works(parts, name)

    monkeypatch.setattr(Parts, "_entry", entry)
    receive(store, 10)
    assert len(read) < 10
    for upload in uploads:
        upload.close()


def test_an_upload_of_unknown_size_is_refused_when_it_has_grown_too_large(
    opened: Opener, tmp_path: Path
) -> None:
    store = opened(size=3 * MIB)
    receive(store, MIB)
    upload = begin(store, None)
    upload.write(bytes(MIB))
    assert refusal(lambda: upload.write(bytes(2 * MIB))).startswith("quota ")
    upload.close()
    assert os.listdir(tmp_path / "in" / PARTS) == [".stored"]


def test_an_unknown_size_that_exceeds_what_is_left_is_never_stored(opened: Opener) -> None:
    one, other = opened(size=100), opened(size=100)
    first, second = begin(one, None), begin(other, None)
    first.write(bytes(60))
    assert refusal(lambda: second.write(bytes(60))).startswith("quota ")
    first.commit()
    first.close()
    second.close()


@pytest.mark.parametrize("quota", [{"size": 100}, {"files": 1}])
@pytest.mark.parametrize("size", [100, None])
def test_a_file_that_is_there_may_come_again_although_the_folder_is_full(
    opened: Opener, quota: dict[str, int], size: int | None
) -> None:
    """Its sender has lost the answer."""
    store = opened(**quota)
    receive(store, 100)
    again = begin(store, size)
    again.write(bytes(100))
    if size is None:
        again.declare(100)
    assert again.commit().duplicate
    again.close()
    receive(store, 100)
    assert store.parts.entries() == []


def test_another_file_of_that_name_is_refused_when_the_folder_is_full(opened: Opener) -> None:
    store = opened(size=100)
    receive(store, 100)
    assert "99 more do not fit" in refusal(lambda: begin(store, 99))
    assert "101 more do not fit" in refusal(lambda: begin(store, 101))
    other = begin(store, 100)
    other.write(b"x" * 100)
    assert "100 more do not fit" in refusal(other.commit)
    more = [begin(store, 100) for _ in range(3)]
    assert "100 more do not fit" in refusal(lambda: begin(store, 100)), "some at a time"
    for upload in (other, *more):
        upload.close()
    unknown = begin(store, None)
    unknown.write(bytes(60))
    assert refusal(lambda: unknown.write(bytes(MIB))).startswith("quota ")
    unknown.close()
    assert store.parts.entries() == []


@pytest.mark.parametrize("quota", [{"source_files": 1}, {"source_size": 15}])
def test_each_source_has_its_share(opened: Opener, quota: dict[str, int]) -> None:
    one, other = opened(**quota), opened(**quota)
    first = begin(one, 10, "2001:db8::1")
    assert refusal(lambda: begin(other, 10, "2001:db8::2")).startswith(("quota ", "too-many "))
    second = begin(other, 10, "2001:db8:0:1::1")
    first.close()
    third = begin(other, 10, "2001:db8::2")
    second.close()
    third.close()


def test_what_a_worker_that_crashed_was_receiving_does_not_count(opened: Opener) -> None:
    store = opened(source_files=1)
    upload = begin(store, 10)
    upload._part.close()  # the kernel closes the descriptors of a process that ends
    receive(store, 1)


def test_what_was_interrupted_counts_until_it_ends(opened: Opener) -> None:
    store = opened(source_files=1)
    upload = begin(store, 10, keep=True)
    upload.suspend()
    assert refusal(lambda: begin(store, 1)).startswith("too-many ")
    again = Upload.resume(store, upload.id)
    again.close()
    receive(store, 1)


def test_a_source_is_an_ipv4_address_or_a_network_of_ipv6_or_a_text() -> None:
    keys = [Sender(host).source for host in ("192.0.2.1", "192.0.2.2", "fe80::1%eth0", "-")]
    assert len(set(keys)) == 4
    assert Sender("fe80::2%eth1").source == keys[2]


def user(name: str, **share: int) -> Sender:
    return Sender("192.0.2.1", f"user:{name}", name, share=Share(**share))


def send(store: Store, sender: Sender, size: int, name: str = "a") -> None:
    upload = Upload.begin(store, Facts(name, size), sender)
    upload.write(os.urandom(size))
    upload.commit()
    upload.close()


def test_the_folder_of_a_user_holds_no_more_than_its_share(opened: Opener, tmp_path: Path) -> None:
    one, other = opened(), opened()
    ann, bob = user("ann", size=100), user("bob", size=100)
    send(one, ann, 60)
    coming = Upload.begin(other, Facts("b", 30), ann)
    assert refusal(lambda: Upload.begin(one, Facts("c", 11), ann)) == (
        "quota the folder of ann may hold 100 bytes: 60 are stored, 30 are being received,"
        " and 11 more do not fit"
    )
    send(one, bob, 100)
    coming.close()
    send(other, ann, 40)
    assert refusal(lambda: Upload.begin(one, Facts("c", 1), ann)).startswith("quota the folder of ann ")
    (tmp_path / "in" / "ann" / "a").unlink()
    send(one, ann, 60)


def test_the_folder_of_a_user_holds_so_many_files_with_its_inner_folders(
    tmp_path: Path,
) -> None:
    store = Store.open(tmp_path / "in", Limits(GIB, folders=True))
    ann = user("ann", files=2)
    send(store, ann, 1, "x/y/a")
    send(store, ann, 1, "b")
    send(store, user("anna", files=2), 1)
    assert refusal(lambda: Upload.begin(store, Facts("c", 0), ann)) == (
        "quota the folder of ann may hold 2 files: 2 are stored, 0 are being received"
    )
    store.close()


def test_a_user_who_does_not_tell_the_size_is_stopped_at_the_share(opened: Opener, tmp_path: Path) -> None:
    store, ann = opened(), user("ann", size=2 * MIB)
    send(store, ann, MIB)
    upload = Upload.begin(store, Facts("b"), ann)
    upload.write(bytes(MIB))
    assert refusal(lambda: upload.write(bytes(2 * MIB))).startswith("quota the folder of ann may hold ")
    upload.close()
    upload = Upload.begin(store, Facts("b"), ann)
    upload.write(bytes(MIB))
    upload.write(bytes(MIB))  # the room for it was taken before
    assert refusal(upload.commit).startswith("quota the folder of ann may hold ")
    upload.close()
    assert os.listdir(tmp_path / "in" / "ann") == ["a"]


def test_the_share_of_a_user_holds_for_an_upload_that_goes_on(opened: Opener) -> None:
    store, ann = opened(), user("ann", size=100)
    upload = Upload.begin(store, Facts("b"), ann, keep=True)
    upload.suspend()
    again = Upload.resume(store, upload.id, ann)
    assert refusal(lambda: again.write(bytes(101))).startswith("quota the folder of ann ")
    again.close()


def test_a_service_and_its_users_have_bounds_of_their_own(opened: Opener) -> None:
    store = opened(size=100)
    ann = user("ann", size=80)
    send(store, user("bob", size=80), 50)
    assert refusal(lambda: Upload.begin(store, Facts("b", 60), ann)).startswith("quota the folder may hold ")
    send(store, ann, 50)
