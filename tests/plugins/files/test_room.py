import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sockd_plugins.files.storage import kernel, room
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.room import Room
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.storage.upload import Upload

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "in", Limits(GIB))
    yield store
    store.close()


@pytest.fixture
def no_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the file system cannot allocate."""
    monkeypatch.setattr(room, "allocate", lambda *_: False)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(FileRefused) as caught:
        action()
    return caught.value.code


def allocated(folder: Path) -> int:
    """Return the bytes that the parts take on the disk."""
    return sum(part.stat().st_blocks * 512 for part in (folder / PARTS).iterdir())


def free(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def test_an_announced_size_takes_no_room(store: Store, tmp_path: Path) -> None:
    upload = Upload.begin(store, Facts("a", 100 * MIB), Sender())
    assert allocated(tmp_path / "in") == 0
    upload.write(b"x")
    assert allocated(tmp_path / "in") <= 64 * KIB
    upload.close()


@pytest.mark.parametrize("size", [None, 100 * MIB])
def test_room_is_taken_no_further_ahead_than_what_has_come(
    store: Store, tmp_path: Path, size: int | None
) -> None:
    upload = Upload.begin(store, Facts("a", size), Sender())
    for count in range(1, 4):
        upload.write(bytes(MIB))
        assert count * MIB <= allocated(tmp_path / "in") <= 2 * count * MIB + 64 * KIB
    upload.close()


@pytest.mark.parametrize("size", [None, MIB + 1])
def test_a_file_that_is_whole_takes_no_more_than_its_size(
    store: Store, tmp_path: Path, size: int | None
) -> None:
    upload = Upload.begin(store, Facts("a", size), Sender())
    upload.write(bytes(MIB))
    upload.write(b"x")
    upload.commit()
    upload.close()
    status = (tmp_path / "in" / "a").stat()
    assert status.st_size == MIB + 1
    assert status.st_blocks * 512 <= MIB + 64 * KIB


@pytest.mark.usefixtures("no_allocation")
def test_where_nothing_can_be_allocated_files_are_stored_all_the_same(store: Store, tmp_path: Path) -> None:
    upload = Upload.begin(store, Facts("a", 2 * MIB), Sender())
    upload.write(bytes(MIB))
    assert allocated(tmp_path / "in") <= MIB + 64 * KIB
    upload.write(bytes(MIB))
    assert upload.commit().size == 2 * MIB
    upload.close()


@pytest.mark.parametrize("reserve", [0, 64 * KIB])
def test_the_reserve_stays_free_while_many_write_at_once(small_disk: Path, reserve: int) -> None:
    store = Store.open(small_disk, Limits(GIB, reserve))
    uploads = [
        Upload.begin(store, Facts(f"{number}", 150 * KIB if number % 2 else None), Sender())
        for number in range(4)
    ]
    codes: list[str] = []
    least = [free(small_disk)]

    def write(upload: Upload) -> None:
        try:
            for _ in range(37):  # no more than was announced; four times as much has no room
                upload.write(bytes(4096))
                least.append(free(small_disk))
        except FileRefused as refused:
            codes.append(refused.code)

    threads = [threading.Thread(target=write, args=[upload]) for upload in uploads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) == {"disk-full"}
    assert min(least) >= reserve
    for upload in uploads:
        upload.close()
    store.close()


def test_the_last_room_is_for_data_and_not_for_what_may_follow(small_disk: Path) -> None:
    store = Store.open(small_disk, Limits(GIB))
    upload = Upload.begin(store, Facts("a"), Sender())
    for _ in range(50):  # 200 of 256 KiB: there is no room for twice as much
        upload.write(bytes(4096))
    assert upload.commit().size == 200 * KIB
    upload.close()
    store.close()


@pytest.mark.usefixtures("no_allocation")
def test_room_that_is_being_written_is_not_given_twice(small_disk: Path) -> None:
    folder = os.open(small_disk, os.O_RDONLY)
    first, second = Room(folder, 0, 0), Room(folder, 0, 0)  # two services on one disk
    half = free(small_disk) // 2
    with first.booked(half), ExitStack() as refused:
        assert refusal(lambda: refused.enter_context(second.booked(half + 1))) == "disk-full"
        with second.booked(half):
            pass
    with second.booked(2 * half):
        pass
    os.close(folder)


def test_files_that_others_must_be_able_to_make_are_kept_for_them(small_disk: Path) -> None:
    store = Store.open(small_disk, Limits(GIB, 0, reserve_files=5))

    def receive_many() -> None:
        for number in range(100):
            upload = Upload.begin(store, Facts(f"{number}"), Sender())
            upload.commit()
            upload.close()

    with pytest.raises(FileRefused, match=r"no room for more files \(inodes\)"):
        receive_many()
    assert os.statvfs(small_disk).f_favail == 5
    store.close()


def test_room_that_another_process_took_in_the_same_moment_is_not_used(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([(1000, 4), (0, 0)])

    class Disk:
        f_frsize, f_files, f_favail = 4096, 0, 0

        def __init__(self, *_: object) -> None:
            self.f_bavail = next(figures)[0]

    folder = os.open(tmp_path, os.O_RDONLY)
    checked = Room(folder, 4096, 0)
    with (tmp_path / "file").open("wb") as file, monkeypatch.context() as patch:
        patch.setattr(os, "fstatvfs", Disk)
        assert refusal(lambda: checked.take(file.fileno(), 0, 4096, 4096)) == "disk-full"
    os.close(folder)


# the system call


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_a_file_system_that_cannot_allocate_is_good_enough(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(kernel, "_fallocate", lambda *_: -1)
    monkeypatch.setattr("ctypes.get_errno", lambda: number)
    assert not kernel.allocate(0, 0, 1)


def test_a_c_library_that_cannot_allocate_is_good_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_fallocate", None)
    assert not kernel.allocate(0, 0, 1)


def test_an_allocation_that_a_signal_has_interrupted_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([-1, -1, 0])
    monkeypatch.setattr(kernel, "_fallocate", lambda *_: next(answers))
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.EINTR)
    assert kernel.allocate(0, 0, 1)


def test_a_disk_that_fails_to_allocate_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_fallocate", lambda *_: -1)
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        kernel.allocate(0, 0, 1)
