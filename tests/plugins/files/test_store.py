import errno
import fcntl
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sockd_plugins.files.storage import kernel
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.storage.upload import Upload

GIB = 1 << 30
DATA = b"some data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


@pytest.fixture
def opened(folder: Path) -> Iterator[Store]:
    opened = Store.open(folder, Limits(GIB))
    yield opened
    opened.close()


def receive(opened: Store, name: str = "a.bin", data: bytes = DATA) -> str:
    upload = Upload.begin(opened, Facts(name, len(data)), Sender())
    try:
        upload.write(data)
        return upload.commit().name
    finally:
        upload.close()


def received(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != PARTS}


def parts(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / PARTS))


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(FileRefused) as caught:
        action()
    return f"{caught.value.code} {caught.value}"


# the folder


def test_a_folder_is_made_with_the_folders_around_it(tmp_path: Path) -> None:
    Store.open(tmp_path / "a" / "b", Limits(GIB)).close()
    assert (tmp_path / "a" / "b" / PARTS).is_dir()


def test_a_file_where_the_folder_should_be_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"")
    with pytest.raises(FileExistsError, match="in"):
        Store.open(tmp_path / "in", Limits(GIB))


def test_a_folder_that_cannot_be_written_stops_the_start(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(PermissionError, match="files cannot be created there"):
        Store.open(small_disk, Limits(GIB))


def test_a_full_disk_is_no_reason_not_to_start(small_disk: Path) -> None:
    Store.open(small_disk, Limits(GIB)).close()
    for number in range(os.statvfs(small_disk).f_favail):
        (small_disk / str(number)).touch()
    opened = Store.open(small_disk, Limits(GIB))
    assert refusal(lambda: receive(opened)).startswith("disk-full ")
    for number in range(2):  # on tmpfs a second name takes a place too
        (small_disk / str(number)).unlink()
    assert receive(opened) == "a.bin"
    opened.close()


def test_a_folder_that_was_removed_is_made_again_for_the_next_file(opened: Store, folder: Path) -> None:
    (folder / PARTS).rmdir()
    folder.rmdir()
    assert receive(opened) == "a.bin"
    assert received(folder) == {"a.bin": DATA}
    assert parts(folder) == []


def move(folder: Path) -> Path:
    """Move the folder away, as an operator does; return its new path."""
    return folder.rename(folder.with_name("old"))


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_that_was_moved_gets_no_further_file(opened: Store, folder: Path, made: bool) -> None:
    told: list[None] = []
    opened.moved = lambda: told.append(None)
    receive(opened, "before")
    old = move(folder)
    if made:
        folder.mkdir()
    assert [receive(opened, "after"), receive(opened, "more")] == ["after", "more"]
    assert (list(received(old)), sorted(received(folder))) == (["before"], ["after", "more"])
    assert told == [None]


def test_an_upload_ends_in_the_folder_that_was_moved_and_others_wait_for_it(
    opened: Store, folder: Path
) -> None:
    with closing(Store.open(folder, Limits(GIB))) as other:
        upload = Upload.begin(opened, Facts("a.bin", len(DATA)), Sender())
        old = move(folder)
        folder.mkdir()
        for store in (opened, other):
            assert refusal(lambda: receive(store)).startswith("busy the folder on the server was moved")  # noqa: B023
        upload.write(DATA)
        upload.commit()
        upload.close()
        assert received(old) == {"a.bin": DATA}
        assert [receive(opened, "1"), receive(other, "2")] == ["1", "2"]
    assert sorted(received(folder)) == ["1", "2"]


def test_a_folder_in_the_place_of_another_must_fit(opened: Store, folder: Path) -> None:
    move(folder)
    folder.write_text("no folder")
    assert refusal(lambda: receive(opened)).startswith("io ")
    folder.unlink()
    assert receive(opened) == "a.bin"


# its parts


def test_the_folder_of_the_parts_that_was_removed_is_made_again(opened: Store, folder: Path) -> None:
    for number in range(3):
        (folder / PARTS).rmdir()
        assert receive(opened, f"{number}") == f"{number}"
    assert parts(folder) == []
    assert stat.S_IMODE((folder / PARTS).stat().st_mode) == 0o700


def test_a_part_that_was_removed_while_it_grew_is_told(opened: Store, folder: Path) -> None:
    upload = Upload.begin(opened, Facts("a.bin"), Sender())
    upload.write(DATA)
    (folder / PARTS / parts(folder)[0]).unlink()
    assert refusal(upload.commit) == f"io its part was removed from {PARTS}"
    upload.close()
    assert received(folder) == {}
    assert receive(opened) == "a.bin"


@pytest.mark.parametrize("kind", ["symlink", "file", "fifo"])
def test_a_file_in_place_of_the_parts_is_refused_and_not_followed(
    opened: Store, folder: Path, tmp_path: Path, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = folder / PARTS
    place.rmdir()
    if kind == "symlink":
        place.symlink_to(elsewhere)
    elif kind == "file":
        place.touch()
    else:
        os.mkfifo(place)
    assert refusal(lambda: receive(opened)).startswith(
        f"io {PARTS} on the server cannot be used: expected a folder"
    )
    assert os.listdir(elsewhere) == []
    place.unlink()
    assert receive(opened) == "a.bin"


def test_a_symlink_where_the_parts_should_be_stops_the_start(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / PARTS).symlink_to(elsewhere)
    with pytest.raises(
        NotADirectoryError,
        match=f"expected a folder for unfinished files, found something else: '{tmp_path}/in/{PARTS}'",
    ):
        Store.open(tmp_path / "in", Limits(GIB))
    assert (elsewhere / "precious").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_another_users_folder_for_the_parts_stops_the_start(folder: Path) -> None:
    (folder / PARTS).mkdir(parents=True)
    os.chown(folder / PARTS, 12345, 12345)
    with pytest.raises(PermissionError, match=r"another user \(12345\)"):
        Store.open(folder, Limits(GIB))
    os.chown(folder, 12345, 12345)  # who may do anything with it in any case
    Store.open(folder, Limits(GIB)).close()


def test_a_file_that_is_no_part_is_left_alone_and_reported(folder: Path, tmp_path: Path) -> None:
    place = folder / PARTS
    (place / "folder" / "within").mkdir(parents=True)
    os.mkfifo(place / "fifo")
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (place / "link").symlink_to(precious)
    (place / "dangling").symlink_to(tmp_path / "missing")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(place)
        listener.bind("socket")
        os.chdir(here)
    (place / "dead").write_bytes(b"left by a crash")
    opened = Store.open(folder, Limits(GIB))
    left = ["dangling", "fifo", "folder", "link", "socket"]
    assert opened.left_alone == left
    assert parts(folder) == left
    assert precious.read_bytes() == b"precious"
    assert receive(opened) == "a.bin"
    opened.close()


def test_a_part_that_cannot_be_removed_keeps_no_service_from_its_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / PARTS).mkdir(parents=True)
    (folder / PARTS / "dead").write_bytes(b"left by a crash")
    unlink = os.unlink

    def fails(path: str, **options: Any) -> None:
        if path == "dead":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", fails)
    opened = Store.open(folder, Limits(GIB))
    assert opened.left_alone == ["dead"]
    opened.close()


def test_a_name_among_the_parts_that_is_taken_is_passed_over(
    opened: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["taken", "free"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(names))
    taken = f"taken-{len(DATA)}-{Sender().source}"
    (folder / PARTS / taken).mkdir()
    assert receive(opened) == "a.bin"
    assert parts(folder) == [taken]


def test_a_sweep_leaves_the_parts_that_are_being_written(opened: Store, folder: Path) -> None:
    upload = Upload.begin(opened, Facts("a.bin"), Sender())
    upload.write(DATA)
    (folder / PARTS / "dead").write_bytes(b"left by a crash")
    Store.open(folder, Limits(GIB)).close()
    assert len(parts(folder)) == 1
    assert upload.commit().name == "a.bin"
    upload.close()
    assert received(folder) == {"a.bin": DATA}


def test_a_part_that_a_sweep_removed_before_it_was_locked_is_replaced(
    opened: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    sweeps = iter([True, False])

    def swept(file: int, how: int) -> None:
        if next(sweeps):
            for name in parts(folder):
                (folder / PARTS / name).unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", swept)
    receive(opened)
    assert received(folder) == {"a.bin": DATA}


@pytest.mark.parametrize(("number", "code"), [(errno.EWOULDBLOCK, None), (errno.ENOLCK, "io")])
def test_a_part_that_a_sweep_holds_is_replaced_and_one_that_cannot_be_locked_is_an_error(
    opened: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str | None
) -> None:
    lock = fcntl.flock
    left = [OSError(number, os.strerror(number))]

    def fails_once(file: int, how: int) -> None:
        if left:
            raise left.pop()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", fails_once)
    if code:
        assert refusal(lambda: receive(opened)).startswith(code)
        assert parts(folder) == []
    assert receive(opened) == "a.bin"


# names


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the file system has no hard links."""

    def link(*_: object, **__: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_files_are_stored_and_replace_nothing(folder: Path, tmp_path: Path) -> None:
    opened = Store.open(folder, Limits(GIB))
    (folder / "a (2).bin").symlink_to(tmp_path / "missing")
    assert [receive(opened, data=data) for data in (b"1", b"2")] == ["a.bin", "a (3).bin"]
    assert (folder / "a.bin").read_bytes() == b"1"
    assert (folder / "a (3).bin").read_bytes() == b"2"
    assert (folder / "a (2).bin").is_symlink()
    assert parts(folder) == []
    opened.close()


@pytest.mark.usefixtures("no_links")
@pytest.mark.parametrize("missing", ["in the file system", "in the C library"])
def test_where_a_file_cannot_be_named_without_replacing_the_start_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def renameat2(*_: object) -> int:
        return -1

    monkeypatch.setattr(kernel, "_renameat2", renameat2 if "file" in missing else None)
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.EINVAL)
    with pytest.raises(OSError, match="neither hard links nor a rename that replaces nothing"):
        Store.open(folder, Limits(GIB))
    assert parts(folder) == []


def test_a_file_system_that_takes_no_locks_stops_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="files cannot be stored there: no locks available"):
        Store.open(folder, Limits(GIB))
    assert parts(folder) == []


# permissions


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    kept = os.umask(0o022)
    yield os.umask
    os.umask(kept)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_says_who_may_read_a_file(
    opened: Store, folder: Path, umask: Callable[[int], int], mask: int, expected: int
) -> None:
    umask(mask)
    receive(opened)
    assert mode(folder / "a.bin") == expected


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_mode_says_who_may_read_a_file_whatever_the_umask_is(
    folder: Path, umask: Callable[[int], int], mask: int
) -> None:
    umask(mask)
    opened = Store.open(folder, Limits(GIB, 0, mode=0o640))
    upload = Upload.begin(opened, Facts("a.bin"), Sender())
    (part,) = parts(folder)
    assert mode(folder / PARTS / part) == 0o600
    upload.commit()
    upload.close()
    assert mode(folder / "a.bin") == 0o640
    opened.close()


@pytest.mark.parametrize("told", [True, False])
def test_a_file_system_that_keeps_no_permissions_stops_the_start_where_they_are_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    def fchmod(*_: int) -> None:
        if told:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchmod", fchmod)
    with pytest.raises(PermissionError, match="does not keep the permissions 640; leave out 'mode'"):
        Store.open(folder, Limits(GIB, 0, mode=0o640))
    assert parts(folder) == []
    Store.open(folder, Limits(GIB)).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
@pytest.mark.parametrize("before", [False, True])
def test_files_get_the_group_of_a_folder_with_the_set_group_id_bit(folder: Path, before: bool) -> None:
    if before:  # it was used before it got the bit
        Store.open(folder, Limits(GIB)).close()
    folder.mkdir(exist_ok=True)
    os.chown(folder, -1, 12345)
    folder.chmod(0o2775)
    opened = Store.open(folder, Limits(GIB))
    receive(opened)
    assert (folder / "a.bin").stat().st_gid == 12345
    opened.close()
