"""Owner of the files, the group of their folder, and the names that they may have."""

import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from sockd_plugins.files.storage.owner import Owner
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import Limits, Store
from sockd_plugins.files.storage.upload import Upload
from tests.plugins.files.storage.engines import GIB, refusal

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def received(folder: Path, name: str, **limits: object) -> os.stat_result:
    """Receive a file, and return its status."""
    store = Store.open(folder, Limits(GIB, folders=True, **limits))  # type: ignore[arg-type]
    try:
        upload = Upload.begin(store, Facts(name), Sender())
        with closing(upload):
            upload.write(b"hello")
            stored = upload.commit()
    finally:
        store.close()
    return (folder / stored.path).stat()


def ids(status: os.stat_result) -> tuple[int, int]:
    return status.st_uid, status.st_gid


@as_root
def test_files_and_the_folders_that_are_made_for_them_get_their_owner(tmp_path: Path) -> None:
    status = received(tmp_path / "in", "x/y/a.txt", owner=Owner(1234, 2345), mode=0o640)
    assert (*ids(status), stat.S_IMODE(status.st_mode)) == (1234, 2345, 0o640)
    assert {ids((tmp_path / "in" / path).stat()) for path in ("x", "x/y")} == {(1234, 2345)}
    assert ids((tmp_path / "in").stat()) == (0, 0)


@as_root
def test_the_folder_for_unverified_files_and_own_files_get_the_owner_too(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    limits = Limits(GIB, owner=Owner(1234, -1), unverified="unverified", own="receipts")
    store = Store.open(folder, limits)
    store.write_own("receipts/a.json", b"{}")
    store.close()
    found = {(folder / path).stat().st_uid for path in ("unverified", "receipts", "receipts/a.json")}
    assert found == {1234}


@as_root
def test_a_file_gets_the_group_of_a_set_group_id_folder_wherever_that_is(tmp_path: Path) -> None:
    inner = tmp_path / "in" / "team"
    inner.mkdir(parents=True)
    os.chown(inner, -1, 2345)
    inner.chmod(0o2770)
    assert ids(received(tmp_path / "in", "team/a.txt")) == (0, 2345)
    status = received(tmp_path / "in", "team/new/b.txt")
    assert (ids(status), ids((inner / "new").stat())) == ((0, 2345), (0, 2345))
    assert received(tmp_path / "in", "c.txt").st_gid == 0
    assert received(tmp_path / "in", "team/d.txt", owner=Owner(-1, 3456)).st_gid == 3456


def test_a_group_of_the_process_is_an_owner(tmp_path: Path) -> None:
    group = [os.getegid(), *os.getgroups()][-1]
    assert Owner(-1, group).obstacle() is None
    assert received(tmp_path / "in", "a.txt", owner=Owner(-1, group)).st_gid == group


def test_what_the_process_may_not_give_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [1000])
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    assert "only root may give files to another user" in str(Owner(0, -1).obstacle())
    assert "a group of the daemon's user" in str(Owner(-1, 1).obstacle())
    assert Owner(1000, 1000).obstacle() is None
    monkeypatch.undo()
    monkeypatch.setattr(os, "fchown", forbidden)
    with pytest.raises(PermissionError, match="cannot be given to their owner there; leave out 'owner'"):
        Store.open(tmp_path / "in", Limits(GIB, owner=Owner(1, 1)))
    assert os.listdir(tmp_path / "in" / ".sockd-part") == []


def test_an_owner_is_found_by_name_or_number() -> None:
    assert Owner.find("") == Owner()
    assert Owner.find("root") == Owner(0, -1)
    assert Owner.find(":root") == Owner(-1, 0)
    assert Owner.find("12:34") == Owner(12, 34)
    for text, fault in [("nobody-here", "no user 'nobody-here'"), (":nothing", "no group 'nothing'")]:
        with pytest.raises(ValueError, match=f"there is {fault} on this machine"):
            Owner.find(text)
    with pytest.raises(ValueError, match="expected the number"):
        Owner.find(":4294967295")


@pytest.mark.parametrize("name", ["a.pdf", "A.PDF", "x/a.pdf", "report-1.txt"])
def test_a_name_of_a_pattern_is_accepted(tmp_path: Path, name: str) -> None:
    assert received(tmp_path / "in", name, names=("*.pdf", "report-?.txt")).st_size == 5


@pytest.mark.parametrize("name", ["a.pdf.exe", "x.pdf/a", "report-10.txt", "a.pdf\u00a0.sh"])
def test_another_name_is_not(tmp_path: Path, name: str) -> None:
    told = refusal(lambda: received(tmp_path / "in", name, names=("*.pdf", "report-?.txt")))
    assert told == f"bad-name expected a name such as *.pdf or report-?.txt, found {name.rpartition('/')[2]}"
    assert os.listdir(tmp_path / "in") == [".sockd-part"]
