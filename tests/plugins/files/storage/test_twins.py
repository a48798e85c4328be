"""Files that are there already, and files with digests beside others."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sockd_plugins.files.storage import twins
from sockd_plugins.files.storage.ledger import Quota
from tests.plugins.files.storage.conftest import Opener
from tests.plugins.files.storage.engines import MIB, Worker, refusal, wait

DATA = os.urandom(3 * MIB + 7)


@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_a_file_that_is_sent_again_is_stored_once(worker: Worker, data: bytes) -> None:
    """The answer to the first one was lost."""
    first, second = worker.receive("a.txt", data), worker.receive("a.txt", data)
    assert (first.name, first.duplicate) == ("a.txt", False)
    assert (second.name, second.duplicate) == ("a.txt", True)
    assert second.sha256 == first.sha256
    assert worker.received() == {"a.txt": data}
    assert worker.parts() == []


def test_a_file_that_got_a_number_is_recognised_too(worker: Worker) -> None:
    for data in (b"1", b"22", b"33"):
        worker.receive("a", data)
    assert [worker.receive("a", data).name for data in (b"1", b"33", b"22")] == ["a", "a (3)", "a (2)"]
    assert worker.receive("a", b"44").name == "a (4)"


@pytest.mark.parametrize("place", [0, 65536, len(DATA) - 1])
def test_a_file_that_differs_in_a_byte_is_another(worker: Worker, place: int) -> None:
    other = bytearray(DATA)
    other[place] ^= 1
    worker.receive("a", bytes(other))
    stored = worker.receive("a", DATA)
    assert (stored.name, stored.duplicate) == ("a (2)", False)


def test_no_link_is_followed_and_no_device_opened(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"same")
    (worker.folder / "a").symlink_to(tmp_path / "same")
    os.mkfifo(worker.folder / "a (2)")
    (worker.folder / "a (3)").mkdir()
    stored = worker.receive("a", b"same")
    assert (stored.name, stored.duplicate) == ("a (4)", False)


def test_a_second_file_does_not_count_again(opened: Opener) -> None:
    worker = opened(quota=Quota(files=2))
    worker.receive("a", b"1")
    worker.receive("a", b"1")
    worker.receive("b", b"2")


def test_a_copy_is_told_only_when_the_other_one_is_durable(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.receive("a", b"1")
    synchronized: list[int] = []
    works = os.fsync

    def fsync(file: int) -> None:
        synchronized.append(os.fstat(file).st_ino)
        works(file)

    monkeypatch.setattr(os, "fsync", fsync)
    assert worker.receive("a", b"1").duplicate
    assert {(worker.folder / "a").stat().st_ino, worker.folder.stat().st_ino} <= set(synchronized)


def test_few_files_are_compared(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "_MOST_COMPARED", 2)
    for number in range(4):
        worker.receive("a", b"%d" % number)
    assert worker.receive("a", b"1").duplicate
    assert worker.receive("a", b"3").name == "a (5)"


# beside


def line(data: bytes, name: str = "a.txt") -> bytes:
    """As `sha256sum` writes it."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()


def test_a_digest_beside_a_file_checks_it(worker: Worker) -> None:
    worker.receive("a.txt", b"data")
    assert worker.receive("a.txt.sha256", line(b"data")).name == "a.txt.sha256"
    worker.receive("b", b"data")
    wrong = hashlib.sha256(b"other").hexdigest()
    assert refusal(lambda: worker.receive("b.sha256", line(b"other"))) == (
        f"digest-mismatch expected b with sha256={wrong}, found sha256={hashlib.sha256(b'data').hexdigest()}"
    )
    assert set(worker.received()) == {"a.txt", "a.txt.sha256", "b"}
    assert worker.parts() == []


@pytest.mark.parametrize("form", ["{}  dir/a.txt\n", "{} *a.txt\r\n", "{}  -\n", "{}\n", "{}"])
def test_the_line_may_have_any_name_or_none(worker: Worker, form: str) -> None:
    worker.receive("a.txt", b"data")
    wrong, right = (form.format(hashlib.sha256(data).hexdigest()) for data in (b"other", b"data"))
    assert refusal(lambda: worker.receive("a.txt.sha256", wrong.encode())).startswith("digest-mismatch ")
    worker.receive("a.txt.sha256", right.upper().encode())


def test_the_file_that_got_a_number_is_the_checked_one_too(worker: Worker) -> None:
    worker.receive("a.txt", b"older")
    assert worker.receive("a.txt", b"newer").name == "a (2).txt"
    worker.receive("a.txt.sha256", line(b"newer"))


@pytest.mark.parametrize("content", [b"no digest\n", line(b"1") + line(b"2"), b"", bytes(5000)])
def test_what_is_no_digest_checks_nothing(worker: Worker, content: bytes) -> None:
    worker.receive("a.txt", b"data")
    assert worker.receive("a.txt.sha256", content).name == "a.txt.sha256"


def test_a_digest_without_a_plain_file_of_that_name_checks_nothing(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (worker.folder / "link").symlink_to(tmp_path / "precious")
    (worker.folder / "folder").mkdir()
    for name in ("missing", "link", "folder"):
        assert worker.receive(f"{name}.sha256", line(b"x")).name == f"{name}.sha256"


def test_a_digest_in_a_folder_checks_the_file_there(opened: Opener) -> None:
    worker = opened(folders=True)
    worker.receive("a.txt", b"another")
    worker.receive("x/a.txt", b"data")
    worker.receive("x/a.txt.sha256", line(b"data"))
    worker.receive("y/a.txt.sha256", line(b"whatever"))
    upload = worker.begin("x/a.txt.sha256")
    wait(upload.write([line(b"other")]))
    assert refusal(lambda: wait(upload.finish())).startswith("digest-mismatch ")
    wait(upload.abandon())
