"""Uploads whose size becomes known late, that go back to a mark, that are joined, and their digests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from sockd_plugins.files.storage import digests, pieces
from sockd_plugins.files.storage import upload as uploads
from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.sweep import sweep
from tests.plugins.files.storage.conftest import Opener
from tests.plugins.files.storage.engines import MIB, Worker, crash, refusal, wait

DATA = os.urandom(3 * MIB + 7)


def digest_of(algorithm: str, data: bytes) -> str:
    digest = digests.new_digest(algorithm)
    digest.update(data)
    return digest.hexdigest()


# sizes


def test_a_size_that_becomes_known_late_survives_a_crash(worker: Worker) -> None:
    upload = worker.begin("a", keep=True)
    wait(upload.write([DATA[:MIB]]))
    wait(upload.declare(len(DATA)))
    wait(upload.sync())
    assert upload.facts.size == len(DATA)
    crash(upload)
    again = worker.find(upload.id)
    assert (again.facts.size, again.durable) == (len(DATA), MIB)
    assert refusal(lambda: wait(again.finish())).startswith("incomplete ")
    wait(again.write([DATA[MIB:]]))
    assert wait(again.finish()).size == len(DATA)
    wait(again.abandon())
    assert worker.parts() == []


def test_a_state_stays_whose_part_gets_its_size_while_another_worker_sweeps(opened: Opener) -> None:
    one, other = opened(), opened()
    upload = one.begin("a", keep=True)
    (part,) = (name for name in one.parts() if not name.endswith(".state"))
    away = one.folder / part
    (one.folder / ".sockd-part" / part).rename(away)  # as a listing may miss it
    sweep(other.engine.store.parts)
    away.rename(one.folder / ".sockd-part" / part)
    wait(upload.suspend())
    again = one.find(upload.id)
    wait(again.abandon())


def test_a_size_is_declared_once_and_fits_what_has_come(opened: Opener) -> None:
    worker = opened(max_size=100)
    upload = worker.begin()
    wait(upload.write([b"12345"]))
    assert refusal(lambda: wait(upload.declare(4))).startswith("bad-request ")
    assert refusal(lambda: wait(upload.declare(101))).startswith("too-large ")
    wait(upload.declare(10))
    wait(upload.declare(10))
    assert refusal(lambda: wait(upload.declare(11))).startswith("bad-request ")
    assert refusal(lambda: wait(upload.write([bytes(6)]))) == "incomplete expected 10 bytes, found more"
    wait(upload.abandon())


def test_a_declared_size_counts_for_all_workers(opened: Opener) -> None:
    one, other = opened(quota=Quota(size=100)), opened(quota=Quota(size=100))
    upload = one.begin()
    wait(upload.declare(60))
    assert "60 are being received" in refusal(lambda: other.begin("b", 41))
    second = other.begin()
    assert refusal(lambda: wait(second.declare(41))).startswith("quota ")
    for each in (upload, second):
        wait(each.abandon())


# marks


def test_what_came_behind_a_mark_is_forgotten(worker: Worker) -> None:
    upload = worker.begin("a", 10, keep=True)
    wait(upload.write([b"12345"]))
    for wrong in (b"wrong", b"false"):
        wait(upload.mark())
        wait(upload.write([wrong]))
        assert wait(upload.sync()) == 5
        wait(upload.rewind())
        assert upload.received == 5
    wait(upload.write([b"67890"]))
    wait(upload.unmark())
    assert wait(upload.sync()) == 10
    assert wait(upload.finish()).sha256 == hashlib.sha256(b"1234567890").hexdigest()
    wait(upload.abandon())
    assert worker.received() == {"a": b"1234567890"}


@pytest.mark.parametrize("crashes", [True, False])
def test_what_came_behind_a_mark_is_not_there_after_a_break(worker: Worker, crashes: bool) -> None:
    upload = worker.begin("a", 10, keep=True)
    wait(upload.write([b"12345"]))
    wait(upload.mark())
    wait(upload.write([b"wrong"]))
    wait(upload.sync())
    if crashes:
        crash(upload)
    else:
        wait(upload.suspend())
    again = worker.find(upload.id)
    assert again.durable == 5
    wait(again.write([b"67890"]))
    assert wait(again.finish()).sha256 == hashlib.sha256(b"1234567890").hexdigest()
    wait(again.abandon())


def test_a_chunk_that_met_a_full_disk_can_be_sent_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = worker.begin("a", 10, keep=True)
    wait(upload.write([b"12345"]))
    wait(upload.mark())

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        assert refusal(lambda: wait(upload.write([b"67890"]))).startswith("disk-full ")
    wait(upload.rewind())
    wait(upload.write([b"67890"]))
    assert wait(upload.finish()).size == 10
    wait(upload.abandon())


# many requests


@pytest.mark.parametrize("algorithm", digests.RUNNING)
def test_an_upload_in_many_requests_is_not_read_for_each(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    read: list[int] = []
    monkeypatch.setattr(uploads, "add_file", lambda *_: read.append(1))
    upload = worker.begin("a", 100, keep=True, algorithm=algorithm)
    for _ in range(9):
        wait(upload.write([b"0123456789"]))
        wait(upload.suspend())
        upload = worker.find(upload.id)
    wait(upload.write([b"0123456789"]))
    assert wait(upload.finish()).digest == f"{algorithm}={digest_of(algorithm, b'0123456789' * 10)}"
    assert read == []
    wait(upload.abandon())


def test_digests_of_interrupted_uploads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_MOST_HASHES", 2)
    hashes = digests.Hashes()
    for name in "abc":
        hashes.keep(name, 1, digests.new_digest("sha256"))
    assert hashes.take("a", 1) is None
    assert hashes.take("b", 2) is None
    assert hashes.take("b", 1) is not None
    assert hashes.take("b", 1) is None


def test_what_a_write_that_failed_has_hashed_is_not_remembered(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = worker.begin("a", len(DATA), keep=True)
    wait(upload.write([DATA[:MIB]]))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        for call in ("writev", "write"):
            patch.setattr(os, call, full)
        assert refusal(lambda: wait(upload.write([DATA[MIB:]]))).startswith("disk-full ")
    wait(upload.suspend())
    again = worker.find(upload.id)
    assert again.durable == MIB
    wait(again.write([DATA[MIB:]]))
    assert wait(again.finish()).sha256 == digest_of("sha256", DATA)
    wait(again.abandon())


# joining


def whole(worker: Worker, data: bytes, sender: Sender | None = None) -> str:
    upload = worker.begin("part", len(data), sender, keep=True)
    wait(upload.write([data]))
    wait(upload.suspend())
    return upload.id


@pytest.fixture(params=["copied by the kernel", "copied here"])
def _copies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    if request.param == "copied here":
        monkeypatch.setattr(os, "copy_file_range", cannot)


@pytest.mark.usefixtures("_copies")
def test_uploads_are_joined(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_COPY", MIB)
    ids = [whole(worker, data) for data in (DATA[:10], DATA[10:MIB], DATA[MIB:])]
    upload = worker.begin("a", len(DATA) + 3, keep=True)
    for id_ in ids:
        wait(upload.append(id_))
    wait(upload.write([b"end"]))
    assert wait(upload.finish()).sha256 == hashlib.sha256(DATA + b"end").hexdigest()
    wait(upload.abandon())
    assert worker.received() == {"a": DATA + b"end"}
    for id_ in ids:
        wait(worker.engine.end(id_))
    assert worker.parts() == []


def test_only_what_is_whole_and_ones_own_is_joined(worker: Worker) -> None:
    upload = worker.begin("a", keep=True)
    half = worker.begin("half", 10, keep=True)
    assert refusal(lambda: wait(upload.append(half.id))).startswith("busy ")
    wait(half.suspend())
    assert refusal(lambda: wait(upload.append(half.id))).startswith("incomplete ")
    assert refusal(lambda: wait(upload.append("0" * 16))).startswith("unknown ")
    others = whole(worker, b"secret", Sender("192.0.2.1", "user:ann"))
    assert refusal(lambda: wait(upload.append(others))).startswith("denied ")
    small = worker.begin("small", 3, keep=True)
    assert refusal(lambda: wait(small.append(whole(worker, b"four")))).startswith("incomplete ")
    for each in (upload, small):
        wait(each.abandon())


# digests


@pytest.mark.parametrize("algorithm", digests.RUNNING)
def test_digests_of_all_algorithms_are_checked(worker: Worker, algorithm: str) -> None:
    right = {name: digest_of(name, DATA) for name in digests.KNOWN}
    upload = worker.begin("a", algorithm=algorithm, keep=True)
    wait(upload.write([DATA]))
    for name, digest in right.items():
        wrong = right | {name: "0" * len(digest)}
        refused = refusal(lambda wrong=wrong: wait(upload.finish(digests=wrong)))  # type: ignore[misc]
        assert refused == f"digest-mismatch expected {name}={wrong[name]}, found {name}={digest}"
    stored = wait(upload.finish(digests={name: digest.upper() for name, digest in right.items()}))
    assert (stored.sha256, stored.digest) == (right["sha256"], f"{algorithm}={right[algorithm]}")
    wait(upload.abandon())


def test_another_running_digest_than_sha256_is_the_only_one_unless_asked(worker: Worker) -> None:
    stored = worker.receive("a", b"")
    assert stored.digest == f"sha256={stored.sha256}"
    upload = worker.begin("b", algorithm="blake3", keep=True)
    wait(upload.write([DATA]))
    wait(upload.suspend())
    worker.engine.store.hashes.take(upload.id, len(DATA))  # as after a restart
    upload = worker.find(upload.id)
    stored = wait(upload.finish())
    assert (stored.sha256, stored.digest) == ("", f"blake3={digest_of('blake3', DATA)}")
    wait(upload.abandon())


def test_blake3_is_that_of_its_authors() -> None:
    """The vector of 1 byte in test_vectors.json of the reference implementation."""
    assert digest_of("blake3", b"\0") == "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"


def test_an_unknown_algorithm_is_refused_before_the_first_byte(worker: Worker) -> None:
    assert refusal(lambda: worker.begin(algorithm="crc32")).startswith("bad-request ")
    assert worker.parts() == []


# grants


class Allowance:
    """Grant of so many bytes."""

    def __init__(self, left: int) -> None:
        self.left = left

    def admit(self, name: str, size: int, coming: Sequence[int]) -> None:
        if size + sum(coming) > self.left:
            raise FileRefused("quota", f"{self.left} bytes are left")

    def go_on(self) -> None:
        return None

    def has_sent(self, name: str, size: int, digest: str) -> bool:
        return False

    @contextmanager
    def spend(self, upload: str, name: str, size: int, digest: str) -> Iterator[None]:
        self.left -= size
        try:
            yield
        except BaseException:
            self.left += size
            raise


def test_a_grant_is_asked_before_the_first_byte_and_spent_when_the_file_is_stored(worker: Worker) -> None:
    grant = Allowance(10)
    ann = Sender("-", "token:1", grant=grant)
    assert refusal(lambda: worker.begin("a", 11, ann)) == "quota 10 bytes are left"
    assert worker.parts() == []
    worker.receive("a", b"123456", ann)
    assert grant.left == 4
    worker.receive("a", b"123456"[:4], ann)
    assert grant.left == 0


def test_a_grant_is_asked_again_when_a_size_becomes_known(worker: Worker) -> None:
    grant = Allowance(10)
    upload = worker.begin("a", None, Sender("-", "token:1", grant=grant))
    assert refusal(lambda: wait(upload.declare(11))).startswith("quota ")
    wait(upload.abandon())


def test_a_grant_goes_on_with_the_upload(worker: Worker) -> None:
    upload = worker.begin("a", 4, Sender("-", "token:1", grant=Allowance(10)), keep=True)
    wait(upload.suspend())
    grant = Allowance(10)
    again = worker.find(upload.id, Sender("-", "token:1", grant=grant))
    wait(again.write([b"some"]))
    wait(again.finish())
    wait(again.abandon())
    assert grant.left == 6


def test_a_file_that_could_not_be_stored_costs_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = Allowance(10)

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", fails)
        sender = Sender("-", "token:1", grant=grant)
        assert refusal(lambda: worker.receive("a", b"1", sender)).startswith("io ")
    assert grant.left == 10


def test_a_copy_costs_nothing(worker: Worker) -> None:
    grant = Allowance(10)
    sender = Sender("-", "token:1", grant=grant)
    worker.receive("a", b"12345", sender)
    assert worker.receive("a", b"12345", sender).duplicate
    assert grant.left == 5


# what is kept of an upload


def test_what_a_protocol_keeps_is_bounded(worker: Worker) -> None:
    upload = worker.begin("ä" * 80, extra={"metadata": "filename 5Y+w5YyX,x"}, keep=True)
    wait(upload.suspend())
    again = worker.find(upload.id)
    assert again.facts.extra == {"metadata": "filename 5Y+w5YyX,x"}
    wait(again.abandon())
    assert refusal(lambda: worker.begin(extra={"metadata": "x" * 20000}, keep=True)).startswith(
        "bad-request "
    )
    assert worker.parts() == []


@pytest.mark.parametrize("name", ["../a", "", 5, None])
def test_a_state_with_a_name_of_another_kind_is_not_resumed(worker: Worker, name: object) -> None:
    upload = worker.begin("a", 10, keep=True)
    wait(upload.suspend())
    state = worker.folder / ".sockd-part" / f"{upload.id}.state"
    lines, brace, kept = state.read_bytes().partition(b"{")
    content = json.loads(brace + kept) | {"name": name}
    state.write_bytes(lines + json.dumps(content).encode())
    assert refusal(lambda: worker.find(upload.id)).startswith("unknown ")
