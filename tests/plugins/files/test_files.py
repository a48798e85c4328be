from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import blake3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IReactorFromThreads
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, LogLevel, capturedLogs
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import Context
from sockd_plugins.files import Files
from sockd_plugins.files.access.access import Access
from sockd_plugins.files.access.tokens import Tokens
from sockd_plugins.files.receipt.receipts import Receipts
from sockd_plugins.files.storage import incoming
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.stream import raw
from sockd_plugins.files.stream.buffers import Buffers
from sockd_plugins.files.stream.peer import Peer, Talk
from sockd_plugins.files.stream.put import receive_puts
from sockd_plugins.files.stream.raw import receive_raw
from sockd_plugins.users.users import Users

T = TypeVar("T")
BATCH = 1 << 20
GIB = 1 << 30


@pytest.fixture(autouse=True)
def largest_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MOST_WINDOW", BATCH)


class Wire(StringTransport):
    """Server's side of a connection in memory."""

    half_closed = False
    aborted = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    @override
    def abortConnection(self) -> None:
        self.aborted = True


class Sender:
    """Client that sends files."""

    def __init__(self, peer: Peer, wire: Any = Wire) -> None:
        self.peer = peer
        self.wire = wire()
        IProtocol(peer).makeConnection(self.wire)

    def sends(self, *pieces: bytes) -> Sender:
        for piece in pieces:
            self.peer.dataReceived(piece)
        return self

    def half_closes(self) -> Sender:
        self.peer.readConnectionLost()
        return self

    def is_cut_off(self) -> Sender:
        self.peer.connectionLost(Failure(ConnectionLost()))
        return self

    def reads(self) -> list[str]:
        lines: list[str] = self.wire.value().decode().splitlines()
        self.wire.clear()
        return lines


def peer_of(plugin: Files, context: Context, protocol: str = "upload") -> Peer:
    peer = plugin.stream_factory(protocol, context).buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
    assert isinstance(peer, Peer)
    return peer


def start(plugin: Files, context: Context) -> None:
    """Start the plugin without threads."""
    failures: list[Failure] = []
    started = Deferred.fromCoroutine(plugin.start(context)).addErrback(failures.append)
    assert started.called
    for failure in failures:
        failure.raiseException()


class Service:
    """Started plugin, with its folder."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.senders: list[Sender] = []
        self.clock = Clock()
        self.context = Context("files", self.clock, Logger("sockd.files"), folder / "state")
        self.plugin = Files(directory=folder, **options)
        start(self.plugin, self.context)

    def connects(self, protocol: str = "upload") -> Sender:
        sender = Sender(peer_of(self.plugin, self.context, protocol))
        self.senders.append(sender)
        return sender

    def stop(self) -> None:
        for sender in self.senders:
            if not sender.peer.ended.called:
                sender.is_cut_off()
        assert Deferred.fromCoroutine(self.plugin.stop()).called

    def received(self) -> dict[str, bytes]:
        return received(self.folder)

    def parts(self) -> list[str]:
        """Return what unfinished uploads have; notes of finished ones and the count begin with a dot."""
        return [name for name in os.listdir(self.folder / PARTS) if not name.startswith(".")]


def received(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != PARTS}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ok(name: str, data: bytes) -> str:
    return f"ok {name} {len(data)} sha256={sha256(data)}"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "in", reserve=0)
    yield service
    service.stop()
    assert service.parts() == []


# upload


def test_a_file_is_announced_sent_and_confirmed(service: Service) -> None:
    sender = service.connects().sends(b"put 5 - hello world.txt\n")
    assert sender.reads() == ["go"]
    assert service.received() == {}
    sender.sends(b"hello")
    assert sender.reads() == [ok("hello world.txt", b"hello")]
    assert service.received() == {"hello world.txt": b"hello"}
    assert not sender.wire.disconnecting


def test_the_connection_closes_when_the_peer_ends_it(service: Service) -> None:
    sender = service.connects().sends(b"put 2 - a\nhi").half_closes()
    assert sender.reads() == ["go", ok("a", b"hi")]
    assert sender.wire.disconnecting


def test_a_peer_that_says_nothing_is_owed_nothing(service: Service) -> None:
    sender = service.connects().half_closes()
    assert sender.reads() == []
    assert sender.wire.disconnecting


@pytest.mark.parametrize(
    ("announced", "after"),
    [
        (b"-", b""),
        (b"sha256=" + sha256(b"hello").encode(), b""),
        (b"sha256=" + sha256(b"hello").upper().encode(), b""),
        (b"sha256", b"sha256=" + sha256(b"hello").encode() + b"\n"),
        (b"sha256", b"sha256=" + sha256(b"hello").upper().encode() + b"\r\n"),
    ],
)
def test_the_digest_may_come_before_or_after_the_data_or_not_at_all(
    service: Service, announced: bytes, after: bytes
) -> None:
    sender = service.connects().sends(b"put 5 " + announced + b" a\r\nhello" + after)
    assert sender.reads() == ["go", ok("a", b"hello")]


MANY = b"".join(
    [
        b"put 3 - a\nput",
        b"put 0 - empty\n",
        b"put 6 sha256 a\nput 1\nsha256=" + sha256(b"put 1\n").encode() + b"\n",
        "put 2 - \u00fcber uns.txt\r\n\r\n".encode(),
    ]
)
MANY_ANSWERS = [
    "go",
    ok("a", b"put"),
    "go",
    ok("empty", b""),
    "go",
    ok("a (2)", b"put 1\n"),
    "go",
    ok("über uns.txt", b"\r\n"),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.sets(st.integers(1, len(MANY) - 1)))
def test_files_one_after_another_are_the_same_however_the_stream_is_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int]
) -> None:
    service = Service(tmp_path_factory.mktemp("in"), reserve=0)
    sender = service.connects().sends(*(MANY[a:b] for a, b in pairwise([0, *sorted(cuts), len(MANY)])))
    assert sender.reads() == MANY_ANSWERS
    assert service.received() == {"a": b"put", "empty": b"", "a (2)": b"put 1\n", "über uns.txt": b"\r\n"}


def test_byte_by_byte_is_fine(service: Service) -> None:
    sender = service.connects().sends(*(bytes([byte]) for byte in MANY))
    assert sender.reads() == MANY_ANSWERS


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\n", "bad-request"),
        (b"put 1 - \n", "bad-name"),
        (b"put 1 -\n", "bad-request"),
        (b"put -1 - a\n", "bad-request"),
        (b"put 1_0 - a\n", "bad-request"),
        ("put \u0661 - a\n".encode(), "bad-request"),
        (b"put " + b"9" * 19 + b" - a\n", "bad-request"),
        (b"put 1 md5=00 a\n", "bad-request"),
        (b"put 1 sha256=00 a\n", "bad-request"),
        (b"put 1 - \xff\n", "bad-request"),
        (b"\x16\x03\x01\x02\x00\x01\xfc\n", "bad-request"),
        (b"x" * 2049, "bad-request"),
        (b"put 1 - " + b"x" * 3000 + b"\n", "bad-request"),
        (b"put 1 - ../a\n", "bad-name"),
        (b"put 1 - a\x1b[2J\n", "bad-name"),
        (b"put 1 - \xe2\x80\xaetxt.exe\n", "bad-name"),
        (b"put 101 - a\n", "too-large"),
        (b"put 2 sha256=" + b"0" * 64 + b" a\nhi", "digest-mismatch"),
        (b"put 2 sha256 a\nhisha256=" + b"0" * 64 + b"\n", "digest-mismatch"),
        (b"put 2 sha256 a\nhiput 2 - b\n", "bad-request"),
        (b"put 2 sha256 a\nhi" + b"x" * 2049, "bad-request"),
    ],
)
def test_an_error_is_one_line_with_a_code_and_leaves_nothing(tmp_path: Path, sent: bytes, code: str) -> None:
    service = Service(tmp_path / "in", max_size=100, reserve=0)
    service.connects().sends(b"put 3 - a\nold")
    sender = service.connects().sends(sent)
    error = sender.reads()[-1]
    assert error.startswith(f"error {code} ")
    assert error.isprintable()
    assert service.received() == {"a": b"old"}
    assert service.parts() == []


@pytest.mark.parametrize(
    "sent", [b"put", b"put 9 - a\n", b"put 9 - a\nhello", b"put 2 sha256 a\nhi", b"put 2 sha256 a\nhisha"]
)
def test_a_peer_that_ends_too_early_is_told_so(service: Service, sent: bytes) -> None:
    sender = service.connects().sends(sent).half_closes()
    assert sender.reads()[-1].startswith("error ")
    assert sender.wire.disconnecting
    assert service.received() == {}


def test_the_files_before_an_error_are_kept_and_those_after_it_are_not_taken(service: Service) -> None:
    sender = service.connects().sends(b"put 1 - a\n1put 1 - ../b\n2put 1 - c\n3")
    go, stored, error = sender.reads()
    assert (go, stored) == ("go", ok("a", b"1"))
    assert error.startswith("error bad-name ")
    assert service.received() == {"a": b"1"}


def test_a_refused_peer_may_end_its_data_before_the_connection_is_closed(service: Service) -> None:
    sender = service.connects().sends(b"put 99999999999999999 - a\n")
    assert sender.reads()[0].startswith("error too-large ")
    assert sender.wire.half_closed
    for _ in range(100):
        sender.sends(bytes(BATCH))
    assert sender.wire.producerState == "producing"
    assert not sender.wire.disconnecting
    sender.half_closes()
    assert sender.wire.disconnecting


def test_a_refused_peer_that_never_ends_is_closed_after_ten_seconds(service: Service) -> None:
    sender = service.connects().sends(b"nonsense\n")
    service.clock.advance(9)
    assert not sender.wire.disconnecting
    service.clock.advance(1)
    assert sender.wire.disconnecting


def test_a_refused_peer_that_goes_away_leaves_no_timer(service: Service) -> None:
    service.connects().sends(b"nonsense\n").is_cut_off()
    assert service.clock.getDelayedCalls() == []


WHOLE = b"put 30 sha256 a\n" + b"x" * 30 + b"sha256=" + sha256(b"x" * 30).encode() + b"\n"


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    size = 4
    monkeypatch.setattr(incoming, "LEAST_WINDOW", size)
    monkeypatch.setattr(incoming, "MOST_WINDOW", size)
    monkeypatch.setattr(raw, "LEAST_WINDOW", size)
    return size


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_connection_that_breaks_leaves_nothing_wherever_it_breaks(service: Service, length: int) -> None:
    service.connects().sends(WHOLE[:length]).is_cut_off()
    assert service.received() == {}
    assert service.parts() == []


def test_draining_closes_who_waits_and_lets_a_file_come_to_its_end(service: Service) -> None:
    idle = service.connects().sends(b"put 1 - a\n1")
    busy = service.connects().sends(b"put 2 sha256 b\n2")
    service.plugin.drain()
    assert not idle.wire.disconnecting
    service.clock.advance(1)
    assert idle.wire.disconnecting
    assert not busy.wire.disconnecting
    busy.sends(b"3", b"sha256=" + sha256(b"23").encode() + b"\n")
    assert busy.wire.disconnecting
    assert service.received() == {"a": b"1", "b": b"23"}


def test_a_file_that_begins_just_after_a_drain_is_received(service: Service) -> None:
    new, between = service.connects(), service.connects().sends(b"put 1 - a\n1")
    service.plugin.drain()
    service.clock.advance(0.9)
    new.sends(b"put 1 - b\n2")
    between.sends(b"put 1 - c\n3")
    assert service.received() == {"a": b"1", "b": b"2", "c": b"3"}
    service.clock.advance(0.1)
    assert new.wire.disconnecting
    assert between.wire.disconnecting


# raw


def test_a_raw_connection_is_a_file_with_a_name_of_the_servers(service: Service) -> None:
    sender = service.connects("raw").sends(b"some", b" bytes")
    assert service.received() == {}
    sender.half_closes()
    ((name, data),) = service.received().items()
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}\.bin", name)
    assert data == b"some bytes"
    assert sender.reads() == [ok(name, data)]
    assert sender.wire.disconnecting


@pytest.mark.parametrize("reason", [ConnectionLost(), ConnectionDone()])
def test_a_raw_connection_that_ends_without_the_peer_ending_it_leaves_nothing(
    service: Service, reason: Exception
) -> None:
    service.connects("raw").sends(b"some").peer.connectionLost(Failure(reason))
    assert service.received() == {}


def test_a_raw_connection_that_is_reset_after_its_end_is_a_file(service: Service) -> None:
    sender = service.connects("raw").sends(b"some").half_closes().is_cut_off()
    assert list(service.received().values()) == [b"some"]
    assert sender.wire.disconnecting


def test_an_empty_raw_connection_is_no_file(service: Service) -> None:
    sender = service.connects("raw").half_closes()
    assert sender.reads() == ["error bad-request nothing was sent"]
    assert service.received() == {}


def test_a_raw_file_that_is_too_large_is_refused_while_it_comes(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", max_size=10, reserve=0)
    fits = service.connects("raw").sends(b"0123456789").half_closes()
    assert fits.reads()[0].startswith("ok ")
    sender = service.connects("raw").sends(bytes(BATCH))
    assert sender.reads()[0].startswith("error too-large ")
    assert sender.wire.half_closed
    assert list(service.received().values()) == [b"0123456789"]


ANNOUNCED = b"put 5 sha256 a.bin\n"


def test_a_peer_that_speaks_upload_to_a_raw_port_is_told_so_in_seconds(service: Service) -> None:
    sender = service.connects("raw").sends(ANNOUNCED[:3], ANNOUNCED[3:])
    assert sender.reads() == []
    service.clock.advance(2)
    (answer,) = sender.reads()
    assert answer.startswith("error bad-request this port speaks 'raw'")
    sender.half_closes()
    assert sender.wire.disconnecting
    assert service.received() == {}


def test_an_announcement_that_a_raw_peer_ends_with_is_not_stored(service: Service) -> None:
    sender = service.connects("raw").sends(ANNOUNCED).half_closes()
    assert sender.reads()[0].startswith("error bad-request this port speaks 'raw'")
    assert service.received() == {}


def test_a_raw_peer_that_is_gone_after_an_announcement_leaves_nothing(service: Service) -> None:
    service.connects("raw").sends(ANNOUNCED).is_cut_off()
    assert service.received() == {}
    assert service.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "data", [ANNOUNCED + b"hello", b"put", b"put it there\n", ANNOUNCED * 2, b"put " + b"x" * 2000, b"\n"]
)
def test_a_raw_file_may_begin_like_an_announcement(service: Service, data: bytes) -> None:
    sender = service.connects("raw").sends(*(data[at : at + 1] for at in range(len(data))))
    service.clock.advance(60)
    sender.half_closes()
    assert list(service.received().values()) == [data]
    assert service.clock.getDelayedCalls() == []


def test_a_raw_file_without_its_digest_is_set_apart_where_the_operator_says_so(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", reserve=0, unverified="unverified")
    sender = service.connects("raw").sends(b"some bytes").half_closes()
    (answer,) = sender.reads()
    assert answer.startswith("ok unverified/2")
    (stored,) = (tmp_path / "in" / "unverified").iterdir()
    assert answer == ok(f"unverified/{stored.name}", b"some bytes")
    assert stored.read_bytes() == b"some bytes"
    service.stop()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.binary(max_size=200), st.sets(st.integers(0, 271)))
def test_a_raw_file_that_ends_with_its_digest_is_whole_however_the_stream_is_cut(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("in")
    service = Service(folder, reserve=0, unverified="unverified")
    sent = data + f"sha256={sha256(data)}\n".encode()
    sender = service.connects("raw").sends(*(sent[a:b] for a, b in pairwise([0, *sorted(cuts), len(sent)])))
    (answer,) = sender.half_closes().reads()
    assert answer == ok(answer.split()[1], data)
    assert (folder / answer.split()[1]).read_bytes() == data
    assert os.listdir(folder / "unverified") == []
    service.stop()


def test_a_raw_file_that_ends_with_another_digest_is_refused(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", reserve=0, unverified="unverified")
    sender = service.connects("raw").sends(b"some bytesha256=" + b"0" * 64 + b"\n").half_closes()
    assert sender.reads()[0].startswith("error digest-mismatch ")
    assert service.parts() == []
    assert os.listdir(tmp_path / "in" / "unverified") == []
    service.stop()


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "CON"])
def test_the_folder_of_unverified_files_is_in_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError):
        Files.model_validate({"directory": tmp_path, "unverified": name})


# uploads in several connections


def interrupted(service: Service, digest: str = "-") -> str:
    """Send a part of a file and break the connection; return the id."""
    sender = service.connects().sends(f"keep 10 {digest} a.txt\n".encode(), b"01234")
    go, offset = sender.reads()[0].rsplit(" ", 1)
    assert offset == "0"
    service.clock.advance(1)
    sender.is_cut_off()
    assert service.received() == {}
    return go.removeprefix("go ")


@pytest.mark.parametrize("digest", ["-", "sha256", "sha256=" + sha256(b"0123456789")])
def test_an_upload_that_was_interrupted_goes_on(service: Service, digest: str) -> None:
    id_ = interrupted(service, digest)
    sender = service.connects().sends(f"resume {id_}\n".encode())
    assert sender.reads() == [f"go {id_} 5"]
    sender.sends(b"56789")
    if digest == "sha256":
        sender.sends(f"sha256={sha256(b'0123456789')}\n".encode())
    else:
        service.clock.advance(1)
    assert sender.reads()[-1] == ok("a.txt", b"0123456789")
    assert service.received() == {"a.txt": b"0123456789"}
    (gone,) = service.connects().sends(f"resume {id_}\n".encode()).reads()
    assert gone.startswith("error unknown ")


def test_an_upload_goes_on_after_a_new_start(service: Service) -> None:
    id_ = interrupted(service)
    again = Service(service.folder, reserve=0)
    sender = again.connects().sends(f"resume {id_}\n".encode(), b"56789")
    again.clock.advance(1)
    assert sender.reads()[-1] == ok("a.txt", b"0123456789")
    again.stop()


def test_an_upload_in_use_is_taken_from_the_connection_that_is_older(service: Service) -> None:
    """That one may be dead, and would not be noticed for minutes."""
    first = service.connects().sends(b"keep 2 - a\n0")
    id_ = first.reads()[0].split()[1]
    service.clock.advance(1)
    second = service.connects().sends(f"resume {id_}\n".encode())
    assert first.reads()[-1] == "error taken another connection goes on with this upload"
    assert second.reads() == [f"go {id_} 1"]
    second.sends(b"1")
    service.clock.advance(1)
    assert second.reads()[-1] == ok("a", b"01")


def test_an_upload_with_wrong_data_is_not_kept(service: Service) -> None:
    id_ = interrupted(service, f"sha256={'0' * 64}")
    sender = service.connects().sends(f"resume {id_}\n".encode(), b"56789")
    service.clock.advance(1)
    assert sender.reads()[-1].startswith("error digest-mismatch ")
    assert service.parts() == []


@pytest.mark.parametrize("id_", ["0" * 16, "../../etc/passw0", "0" * 15, "0123456789ABCDEF"])
def test_what_is_not_there_cannot_be_resumed(service: Service, id_: str) -> None:
    error = service.connects().sends(f"resume {id_}\n".encode()).reads()[-1]
    assert error.startswith(("error unknown ", "error bad-request "))


def test_a_sender_is_told_how_much_is_durable(service: Service) -> None:
    sender = service.connects().sends(b"keep %d - a\n" % (20 * BATCH))
    told = []
    for _ in range(20):
        sender.sends(bytes(BATCH))
        told += [line for line in sender.reads() if line.startswith("at ")]
    offsets = [int(line.removeprefix("at ")) for line in told]
    assert offsets == sorted(offsets)
    assert len(offsets) >= 2
    assert offsets[0] >= 8 * BATCH


# shares


def test_a_service_over_its_quota_says_so_with_the_numbers_before_the_data(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", reserve=0, quota=100)
    service.connects().sends(b"put 60 - a\n" + bytes(60))
    assert service.connects().sends(b"put 41 - b\n").reads() == [
        "error quota the folder may hold 100 bytes: 60 are stored, 0 are being received,"
        " and 41 more do not fit"
    ]
    assert service.connects().sends(b"put 40 - b\n").reads() == ["go"]
    assert service.connects("raw").sends(bytes(BATCH)).reads()[0].startswith("error quota ")
    service.stop()


def test_a_source_has_a_share_of_its_own(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", reserve=0, source_files=2)
    senders = [service.connects().sends(b"put 1 - a\n") for _ in range(3)]
    assert [sender.reads()[0] for sender in senders] == [
        "go",
        "go",
        "error too-many a source may have 2 unfinished files, this one has 2",
    ]
    senders[0].sends(b"x")
    assert service.connects().sends(b"put 1 - b\n").reads() == ["go"]
    service.stop()


def test_a_sender_may_send_the_next_file_as_soon_as_the_last_is_acknowledged(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    disk.store.close()
    disk.store = Store.open(tmp_path, Limits(GIB, quota=Quota(source_files=1)))
    sender = connect(disk, "upload").sends(b"put 1 - a\nx")
    while ok("a", b"x") not in sender.reads():
        assert disk.turns(1)
    other = connect(disk, "upload").sends(b"put 0 - b\n")
    disk.turns()
    assert other.reads() == ["go", ok("b", b"")]
    for each in (sender, other):
        each.is_cut_off()
    disk.stop()


# peers that are slow


def trickle(service: Service, sender: Sender, seconds: int, size: int) -> list[str]:
    for _ in range(seconds):
        service.clock.advance(1)
        sender.sends(bytes(size))
    return sender.reads()


@pytest.mark.parametrize(("protocol", "start"), [("upload", b"put 100000000 - a\n"), ("raw", b"")])
def test_an_upload_that_is_slower_than_it_may_be_is_ended_after_minutes(
    service: Service, protocol: str, start: bytes
) -> None:
    sender = service.connects(protocol).sends(start)
    assert "error" not in "".join(trickle(service, sender, 300, 1))
    assert trickle(service, sender, 2, 1) == ["error too-slow expected at least 500 bytes a second"]
    assert service.parts() == []


def test_an_upload_that_can_be_resumed_is_ended_as_early_and_kept(service: Service) -> None:
    sender = service.connects().sends(b"keep 100000000 - a\n")
    assert "error" not in "".join(trickle(service, sender, 300, 1))
    assert trickle(service, sender, 4, 1)[-1].startswith("error too-slow ")
    assert len(service.parts()) == 2
    for part in service.parts():
        (service.folder / PARTS / part).unlink()


def test_a_sender_that_stalls_keeps_no_memory(service: Service) -> None:
    sender = service.connects().sends(b"put %d - a\n" % (8 * BATCH), bytes(3 * BATCH))
    assert memory([sender]) > 0
    service.clock.advance(1)
    assert memory([sender]) == 0
    assert sender.reads() == ["go"]


def test_an_upload_that_is_just_fast_enough_is_never_ended(service: Service) -> None:
    sender = service.connects().sends(b"put 100000000 - a\n")
    assert trickle(service, sender, 3600, 500) == ["go"]


def test_a_peer_may_be_silent_as_long_as_the_idle_timeout_lets_it(service: Service) -> None:
    sender = service.connects().sends(b"put 1000000 - a\n", bytes(10))
    service.clock.advance(590)
    sender.sends(bytes(999_990))
    assert sender.reads() == ["go", ok("a", bytes(1_000_000))]
    service.clock.advance(3600)  # also between two files
    assert sender.sends(b"put 1 - b\nx").reads() == ["go", ok("b", b"x")]


def test_any_rate_will_do_where_none_is_asked_for(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", min_rate=0)
    sender = service.connects().sends(b"put 100000000 - a\n")
    assert trickle(service, sender, 1000, 1) == ["go"]
    service.stop()


# memory


def open_to_all(engine: Engine) -> Access:
    return Access(("anyone",), Users(), Tokens(Path("state")), engine.run, engine.clock)


def talk(protocol: str, engine: Engine) -> Talk:
    access = open_to_all(engine)
    if protocol == "raw":
        return partial(receive_raw, engine=engine, access=access)
    receipts = Receipts("files", Path("state"))
    return partial(receive_puts, engine=engine, access=access, receipts=receipts)


def memory(senders: list[Sender]) -> int:
    """Return the bytes in memory, including those that are being written."""
    return sum(len(sender.peer._unread) + sender.peer._lent for sender in senders)


def test_uploads_together_stay_within_the_memory_and_all_are_served(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    buffers = Buffers(8 * BATCH)
    context = Context("files", Clock(), Logger("sockd.files"), Path("state"))
    data = os.urandom(BATCH)
    senders = [Sender(Peer(talk("upload", disk), context, buffers)) for _ in range(40)]
    for number, sender in enumerate(senders):
        sender.sends(b"put %d - %d\n" % (len(data), number))
    disk.turns()
    left = dict.fromkeys(senders, data)
    most = 0
    while left:
        for sender, rest in tuple(left.items()):
            if sender.wire.producerState == "producing":
                sender.sends(rest[:65536])
                left[sender] = rest[65536:]
                most = max(most, memory(senders))
            if not left[sender]:
                del left[sender]
        disk.turns(3)
    disk.turns()
    assert most <= 8 * BATCH + 65536
    assert received(tmp_path) == {str(number): data for number in range(40)}
    for sender in senders:
        sender.half_closes()
    disk.stop()


def test_peers_that_stop_short_of_a_batch_leave_the_memory_to_others(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    buffers = Buffers(4 * BATCH)
    context = Context("files", Clock(), Logger("sockd.files"), Path("state"))
    puts = talk("upload", disk)
    stopped = [Sender(Peer(puts, context, buffers)) for _ in range(20)]
    for number, sender in enumerate(stopped):
        sender.sends(b"put %d - %d\n" % (BATCH, number))
        disk.turns()
        sender.sends(bytes(BATCH - 1))
        disk.turns()
    assert memory(stopped) <= 4 * BATCH
    assert {sender.wire.producerState for sender in stopped} == {"producing"}
    other = Sender(Peer(puts, context, buffers)).sends(b"put %d - other\n" % BATCH)
    disk.turns()
    other.sends(bytes(BATCH))
    disk.turns()
    assert other.reads() == ["go", ok("other", bytes(BATCH))]
    for sender in [*stopped, other]:
        sender.is_cut_off()
    disk.turns()
    assert memory(stopped) == 0
    disk.stop()


def test_lines_that_nobody_ends_do_not_stop_those_who_send_files(tmp_path: Path) -> None:
    """The peers of such lines alone can end them."""
    disk = SlowDisk(tmp_path)
    buffers = Buffers(1000)
    context = Context("files", Clock(), Logger("sockd.files"), Path("state"))
    puts = talk("upload", disk)
    endless = [Sender(Peer(puts, context, buffers)).sends(b"x" * 500) for _ in range(5)]
    other = Sender(Peer(puts, context, buffers)).sends(b"put 5 - a\n")
    disk.turns()
    assert other.wire.producerState == "producing"
    other.sends(b"hello")
    disk.turns()
    assert other.reads() == ["go", ok("a", b"hello")]
    for sender in [*endless, other]:
        sender.is_cut_off()
    disk.stop()


def test_a_small_file_of_which_half_has_come_when_memory_is_short_is_waited_for(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    buffers = Buffers(1000)
    context = Context("files", Clock(), Logger("sockd.files"), Path("state"))
    puts = talk("upload", disk)
    sender = Sender(Peer(puts, context, buffers)).sends(b"hello upload\nput 613 - a\n" + b"x" * 300)
    endless = Sender(Peer(puts, context, buffers)).sends(b"x" * 1000)
    disk.turns()
    sender.sends(b"x" * 300, b" and the rest")
    disk.turns()
    assert sender.reads()[1:] == [ok("a", b"x" * 600 + b" and the rest")]
    for peer in (sender, endless):
        peer.is_cut_off()
    disk.stop()


# slow disks, and none at all


class SlowDisk(Engine):
    """Works when it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Clock())
        self.store = Store.open(folder, Limits(1 << 40, 0))
        self._work: list[Callable[[], None]] = []

    @override
    def run(self, work: Callable[..., T], *args: object) -> Deferred[T]:
        done: Deferred[T] = Deferred()

        def turn() -> None:
            try:
                result = work(*args)
            except BaseException:
                done.errback(Failure())
            else:
                done.callback(result)

        self._work.append(turn)
        return done

    def turns(self, most: int = 1_000_000) -> int:
        """Do the pending work; return how much that was."""
        count = 0
        while self._work and count < most:
            self._work.pop(0)()
            count += 1
        return count


def connect(disk: Engine, protocol: str) -> Sender:
    context = Context("files", Clock(), Logger("sockd.files"), Path("state"))
    return Sender(Peer(talk(protocol, disk), context, Buffers(GIB)))


@pytest.mark.parametrize("protocol", ["upload", "raw"])
def test_a_peer_that_is_faster_than_the_disk_is_paused_and_resumed(tmp_path: Path, protocol: str) -> None:
    disk = SlowDisk(tmp_path)
    sender = connect(disk, protocol)
    data = os.urandom(10 * BATCH)
    left = (b"put %d - a\n" % len(data) if protocol == "upload" else b"") + data
    turns = 0
    while left:
        unpaused = 0
        while left and sender.wire.producerState == "producing":
            sender.sends(left[:65536])
            left = left[65536:]
            unpaused += 65536
        assert unpaused <= 2 * BATCH + 65536
        turns += disk.turns(1)
    sender.half_closes()
    turns += disk.turns()
    assert list(received(tmp_path).values()) == [data]
    assert turns < 20
    disk.stop()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("protocol", ["upload", "raw"])
@pytest.mark.parametrize("turns", range(7))
def test_a_connection_that_breaks_while_the_disk_works_leaves_nothing(
    tmp_path: Path, protocol: str, turns: int
) -> None:
    disk = SlowDisk(tmp_path)
    sender = connect(disk, protocol)
    sender.sends(b"put 20 - a\n" if protocol == "upload" else b"", b"0123456789abcdefghi")
    assert disk.turns(turns) == min(turns, 5)
    sender.is_cut_off()
    disk.turns()
    assert sender.peer.ended.called
    assert received(tmp_path) == {}
    assert os.listdir(tmp_path / PARTS) == []
    disk.stop()


def test_a_file_that_has_arrived_is_stored_although_its_sender_is_gone(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    sender = connect(disk, "upload").sends(b"put 2 - a\nhi").is_cut_off()
    disk.turns()
    assert received(tmp_path) == {"a": b"hi"}
    assert sender.reads() == []
    disk.stop()


def test_a_full_disk_is_told_and_the_peer_may_end_its_data(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    sender = service.connects().sends(b"put %d - a\n" % (2 * BATCH))
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        sender.sends(bytes(BATCH))
    assert sender.reads() == ["go", "error disk-full no space left on device"]
    assert not sender.sends(bytes(BATCH)).wire.disconnecting
    assert service.received() == {}


def test_a_fault_of_our_own_aborts_the_connection() -> None:
    async def fails(peer: Peer) -> None:
        await peer.read(1)
        raise RuntimeError("a mistake")

    context = Context("files", Clock(), Logger("sockd.files"), Path("state"))
    sender = Sender(Peer(fails, context, Buffers(GIB))).sends(b"x")
    assert sender.wire.aborted
    assert sender.peer.ended.called


# threads


@implementer(IReactorFromThreads)
class Loop(Clock):
    """Reactor that only takes results from threads."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:  # noqa: A002
        self._calls.put(partial(callable, *args, **kwargs))

    def turn(self) -> None:
        self._calls.get(timeout=30)()

    def run_until(self, done: Deferred[Any]) -> None:
        while not done.called:
            self.turn()


def started(folder: Path) -> tuple[Files, Context, Loop]:
    loop = Loop()
    plugin = Files(directory=folder)
    context = Context("files", loop, Logger("sockd.files"), folder / "state")
    loop.run_until(Deferred.fromCoroutine(plugin.start(context)))
    return plugin, context, loop


def disk_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "files" in thread.name]


def test_the_disk_is_waited_for_in_threads_which_end_with_the_service(tmp_path: Path) -> None:
    plugin, context, loop = started(tmp_path)
    data = os.urandom(5 * BATCH + 1)
    senders: list[Sender] = []
    for number in range(6):
        peer = peer_of(plugin, context)
        senders.append(Sender(peer).sends(b"put %d - %d\n" % (len(data), number), data).half_closes())
    for sender in senders:
        loop.run_until(sender.peer.ended)
        assert sender.reads()[-1].startswith("ok ")
    assert disk_threads()
    stopped = Deferred.fromCoroutine(plugin.stop())
    assert stopped.called
    assert disk_threads() == []
    assert received(tmp_path) == {str(number): data for number in range(6)}


def test_stopping_waits_for_what_the_disk_is_busy_with(tmp_path: Path) -> None:
    plugin, context, loop = started(tmp_path)
    peer = peer_of(plugin, context)
    Sender(peer).sends(b"put 2 - a\nh").is_cut_off()
    stopped = Deferred.fromCoroutine(plugin.stop())
    assert not stopped.called
    loop.run_until(stopped)
    assert os.listdir(tmp_path / PARTS) == []
    assert disk_threads() == []


def test_a_disk_that_never_answers_does_not_keep_the_service_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    fsync = os.fsync

    def stuck(file: int) -> None:
        answer.wait(30)
        fsync(file)

    monkeypatch.setattr(os, "fsync", stuck)
    plugin, context, loop = started(tmp_path)
    peer = peer_of(plugin, context)
    Sender(peer).sends(b"put 0 - a\n").is_cut_off()
    failures: list[Failure] = []
    Deferred.fromCoroutine(plugin.stop()).addErrback(failures.append)
    assert failures == []
    loop.advance(3)
    assert failures[0].check(TimedOut)
    assert all(thread.daemon for thread in disk_threads())
    answer.set()
    while plugin._peers:
        loop.turn()
    plugin._engine.stop()


# the plugin


def test_sizes_are_written_as_numbers_or_with_a_unit(tmp_path: Path) -> None:
    plugin = Files.model_validate({"directory": tmp_path, "max_size": "2GiB", "reserve": 1000})
    assert (plugin.max_size, plugin.reserve) == (2 << 30, 1000)


@pytest.mark.parametrize(
    "options", [{"max_size": 0}, {"reserve": -1}, {"max_size": "much"}, {"directory": None}]
)
def test_options_out_of_bounds_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Files.model_validate({"directory": tmp_path, **options})


@pytest.mark.parametrize("mode", ["640", "0640", "444", "600", "755"])
def test_a_mode_is_three_octal_digits(tmp_path: Path, mode: str) -> None:
    service = Service(tmp_path / "in", reserve=0, mode=mode)
    service.connects().sends(b"put 0 - a\n")
    assert (tmp_path / "in" / "a").stat().st_mode & 0o7777 == int(mode, 8)
    service.stop()


@pytest.mark.parametrize(
    "mode", ["4755", "2640", "1777", "648", "64", "rw-r-----", "040", "200", "", 640, 0o640]
)
def test_a_mode_that_is_dangerous_or_no_mode_is_refused(tmp_path: Path, mode: object) -> None:
    with pytest.raises(ValidationError):
        Files.model_validate({"directory": tmp_path, "mode": mode})


def test_files_in_the_way_among_the_parts_are_reported_once(tmp_path: Path) -> None:
    (tmp_path / "in" / PARTS / "folder").mkdir(parents=True)
    with capturedLogs() as events:
        service = Service(tmp_path / "in", reserve=0)
        service.connects().sends(b"put 0 - a\n")
    (event,) = [event for event in events if event["log_level"] is LogLevel.warn]
    assert event["names"] == "folder"
    service.stop()


def test_a_relative_folder_counts_from_the_configuration_file(tmp_path: Path) -> None:
    plugin = Files.model_validate({"directory": "in"}, context={"folder": tmp_path})
    assert plugin.directory == tmp_path / "in"


def test_a_service_that_could_not_start_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"")
    plugin = Files(directory=tmp_path / "in")
    with pytest.raises(FileExistsError):
        start(plugin, Context("files", Clock(), Logger("sockd.files"), tmp_path))
    assert Deferred.fromCoroutine(plugin.stop()).called


# after a greeting


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[Service]:
    """Return a service that keeps unfinished uploads."""
    service = Service(tmp_path / "lasting", reserve=0)
    yield service
    service.stop()


def greeted(service: Service) -> Sender:
    sender = service.connects().sends(b"hello upload\n")
    words = sender.reads()[0].split()
    assert words[0] == "hello"
    assert {"chunks", "continue", "drop", "tokens", "blake3"} <= set(words)
    return sender


def blake(data: bytes) -> str:
    return f"blake3={blake3.blake3(data).hexdigest()}"


def test_files_follow_each_other_without_a_wait_and_each_has_one_answer(service: Service) -> None:
    sender = greeted(service).sends(
        b"put 1 - a\n1put 5 blake3=" + blake(b"hello")[7:].encode() + b" b\nhello"
        b"put 2 sha256=" + b"0" * 64 + b" wrong\n??"
        b"put 3 - ../c\nxxxput 2 blake3 d\nhi" + blake(b"hi").encode() + b"\nput 0 - e\n"
    )
    assert [line.split()[:2] for line in sender.reads()] == [
        ["ok", "a"],
        ["ok", "b"],
        ["refused", "digest-mismatch"],
        ["refused", "bad-name"],
        ["ok", "d"],
        ["ok", "e"],
    ]
    assert service.received() == {"a": b"1", "b": b"hello", "d": b"hi", "e": b""}
    assert service.parts() == []


def test_a_refused_file_that_is_large_ends_the_conversation(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", max_size=1 << 20, reserve=0)
    sender = greeted(service).sends(b"put 3000000 - large\n", b"put 1 - a\n1")
    assert sender.reads() == ["error too-large expected at most 1048576 bytes, found 3000000"]
    service.stop()
    assert service.received() == {}


def test_a_file_that_is_there_already_is_told(service: Service) -> None:
    sender = greeted(service).sends(b"put 1 - a\n1put 1 - a\n1put 1 - a\n2")
    assert [line.split(" ", 2)[:2] for line in sender.reads()] == [["ok", "a"], ["had", "a"], ["ok", "a"]]
    assert service.received() == {"a": b"1", "a (2)": b"2"}


def test_a_file_of_unknown_size_comes_in_chunks(service: Service) -> None:
    sender = greeted(service).sends(b"put - blake3 a\n3\nhel2\nlo0\n" + blake(b"hello").encode() + b"\n")
    assert sender.reads() == [f"ok a 5 {blake(b'hello')}"]


@pytest.mark.parametrize("sent", [b"3\nhe", b"3\nhel", b"3\nhel0", b"", b"0\n"])
def test_a_file_in_chunks_that_breaks_off_is_not_stored(lasting: Service, sent: bytes) -> None:
    sender = greeted(lasting).sends(b"continue - - blake3 a\n" + sent).half_closes()
    go, error = sender.reads()
    assert go.startswith("go ")
    assert error.startswith("error ")
    assert lasting.received() == {}


def test_an_upload_is_continued_by_its_name_with_the_digest_of_what_is_there(lasting: Service) -> None:
    first = greeted(lasting).sends(b"continue - 5 blake3 a\nhel")
    first.half_closes()
    id_ = first.reads()[0].split()[1]
    other = greeted(lasting).sends(b"continue - 6 blake3 a\n")
    assert other.reads()[0].split()[1] != id_  # another size
    second = greeted(lasting).sends(b"continue - 5 blake3 a\n")
    assert second.reads() == [f"go {id_} 3 {blake(b'hel')}"]
    second.sends(b"lo" + blake(b"hello").encode() + b"\n")
    assert second.reads()[-1] == f"ok a 5 {blake(b'hello')}"
    third = greeted(lasting).sends(f"continue {id_} 5 blake3 a\n".encode())
    assert third.reads() == [f"had a 5 {blake(b'hello')}"]  # the answer may have been lost


def test_an_upload_is_dropped(lasting: Service) -> None:
    first = greeted(lasting).sends(b"continue - 5 blake3 a\nhel")
    first.half_closes()
    id_ = first.reads()[0].split()[1]
    greeted(lasting).sends(f"drop {id_}\ndrop {id_}\n".encode())
    assert [name for name in lasting.parts() if not name.startswith(".")] == []


@pytest.mark.parametrize(
    ("beginning", "answer"),
    [
        (b"GET / HTTP/1.1\r\n", "HTTP/1.1 400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "error bad-request this port speaks 'upload'"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "error bad-request this port speaks 'upload'"),
    ],
)
def test_a_peer_that_speaks_another_protocol_is_told_at_once(
    service: Service, beginning: bytes, answer: str
) -> None:
    sender = service.connects().sends(beginning)
    lines = sender.reads()
    assert lines[0].startswith(answer)
    assert "this port speaks 'upload'" in lines[-1]
    assert sender.wire.half_closed


def test_a_silent_peer_is_told_what_the_port_speaks(service: Service) -> None:
    silent, slow = service.connects(), service.connects().sends(b"p")
    service.clock.advance(10)
    assert silent.reads() == [
        "error bad-request nothing came for 10 s; this port speaks 'upload', which 'sockd send' speaks"
    ]
    assert slow.reads() == []
    assert slow.sends(b"ut 1 - a\n1").reads()[-1].startswith("ok a 1 ")
