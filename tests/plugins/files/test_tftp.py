"""Transfers over TFTP, in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import SO_RCVBUF
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs

from sockd.plugin import Context
from sockd_plugins.files import Files
from sockd_plugins.files.storage.engine import LEAST_WINDOW, Engine, Incoming
from sockd_plugins.files.storage.parts import PARTS, TALLY
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.upload import Piece
from sockd_plugins.files.tftp.packets import USUAL_BUFFER
from sockd_plugins.files.tftp.receiver import Receiver

Address = tuple[str, int]

ANN, BOB = ("192.0.2.1", 40001), ("192.0.2.1", 40002)
ACK_0 = b"\0\4\0\0"


def wrq(name: bytes = b"a", /, mode: bytes = b"octet", **options: object) -> bytes:
    words = [name, mode, *(str(word).encode() for pair in options.items() for word in pair)]
    return b"\0\2" + b"".join(word + b"\0" for word in words)


def oack(**options: object) -> bytes:
    return b"\0\6" + b"".join(str(word).encode() + b"\0" for pair in options.items() for word in pair)


def data(number: int, content: bytes = b"") -> bytes:
    return b"\0\3" + (number & 0xFFFF).to_bytes(2) + content


def ack(number: int) -> bytes:
    return b"\0\4" + (number & 0xFFFF).to_bytes(2)


def refusal(packet: bytes) -> tuple[int, str]:
    """Return the number and the text of an error."""
    assert packet[:2] == b"\0\5"
    assert packet.endswith(b"\0")
    return int.from_bytes(packet[2:4]), packet[4:-1].decode()


class Service:
    """Started plugin with a datagram port in memory."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.sent: list[tuple[bytes, Address]] = []
        context = Context("files", self.clock, Logger("sockd.files"), folder / "state")
        self.plugin = Files(directory=folder, **({"reserve": 0} | options))
        assert Deferred.fromCoroutine(self.plugin.start(context)).called
        protocol = self.plugin.datagram_protocol("tftp", context)
        assert isinstance(protocol, Receiver)
        self.port: Any = protocol
        transport: Any = self
        self.port.makeConnection(transport)

    def write(self, datagram: bytes, addr: Address) -> None:
        self.sent.append((datagram, addr))

    def getHandle(self) -> Service:
        return self

    def getsockopt(self, level: int, option: int) -> int:
        return {SO_RCVBUF: USUAL_BUFFER}[option]

    def setsockopt(self, level: int, option: int, value: int) -> None:
        pass

    def hears(self, *datagrams: bytes, by: Address = ANN) -> list[bytes]:
        """Deliver datagrams; return what is sent to their sender."""
        for datagram in datagrams:
            self.port.datagramReceived(datagram, by)
        return self.says(by)

    def says(self, to: Address = ANN) -> list[bytes]:
        """Return what was sent to an address since the last call."""
        said = [datagram for datagram, address in self.sent if address == to]
        self.sent = [(datagram, address) for datagram, address in self.sent if address != to]
        return said

    def waits(self, seconds: int, to: Address = ANN) -> list[bytes]:
        """Let seconds pass; return what is sent meanwhile."""
        for _ in range(seconds):
            self.clock.advance(1)
        return self.says(to)

    def succeeds(self, coroutine: Any) -> Any:
        results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        (result,) = results
        return result

    def received(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.name != PARTS}

    def parts(self) -> list[str]:
        return [path.name for path in (self.folder / PARTS).iterdir() if path.name != TALLY]

    def stop(self) -> None:
        if self.port.transport is not None:
            self.port.doStop()
        assert Deferred.fromCoroutine(self.plugin.stop()).called
        assert self.clock.getDelayedCalls() == []


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def start_one(**options: Any) -> Service:
        services.append(Service(tmp_path / "in", **options))
        return services[-1]

    yield start_one
    for service in services:
        service.stop()
        assert service.parts() == []


@pytest.fixture
def service(start: Callable[..., Service]) -> Service:
    return start()


class Disk:
    """Disk that takes its time: writes wait until it goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._waiting: list[Deferred[None]] = []
        for name in ("write", "finish"):
            monkeypatch.setattr(Incoming, name, self._delayed(getattr(Incoming, name)))

    def _delayed(self, method: Any) -> Any:
        async def wait(upload: Incoming, *args: Any, **kwargs: Any) -> Any:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting
            return await method(upload, *args, **kwargs)

        return wait

    def goes_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


# A transfer


def test_each_block_is_acknowledged_and_the_last_one_when_the_file_is_stored(service: Service) -> None:
    assert service.hears(wrq(b"hello.txt")) == [ACK_0]
    assert service.hears(data(1, b"x" * 512)) == [ack(1)]
    assert service.received() == {}
    assert service.hears(data(2, b"end")) == [ack(2)]
    assert service.received() == {"hello.txt": b"x" * 512 + b"end"}
    assert service.parts() == []


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1023, 1024, 1025])
def test_a_block_that_is_not_full_ends_the_file_even_an_empty_one(service: Service, size: int) -> None:
    content = bytes(range(256)) * 5
    service.hears(wrq())
    blocks = size // 512 + 1
    for number in range(1, blocks + 1):
        assert service.hears(data(number, content[:size][512 * (number - 1) : 512 * number])) == [ack(number)]
    assert service.received() == {"a": content[:size]}


def test_block_0_follows_block_65535(service: Service) -> None:
    service.hears(wrq(blksize=8))
    blocks = [number.to_bytes(8) for number in range(1, 65_540)]
    for number, block in enumerate(blocks, 1):
        service.port.datagramReceived(data(number, block), ANN)
    service.hears(data(65_540))
    assert service.received() == {"a": b"".join(blocks)}


def test_the_last_block_is_acknowledged_only_when_the_disk_has_the_file(service: Service, disk: Disk) -> None:
    service.hears(wrq())
    assert service.hears(data(1, b"hello")) == []
    assert service.hears(data(1, b"hello")) == []
    disk.goes_on()  # written
    assert service.says() == []
    disk.goes_on()  # published
    assert service.says() == [ack(1)]
    assert service.received() == {"a": b"hello"}


def test_a_repeated_last_block_is_acknowledged_for_longer_than_any_client_repeats_it(
    service: Service,
) -> None:
    service.hears(wrq(), data(1, b"hello"))
    for _ in range(2):
        assert service.waits(150) == []
        assert service.hears(data(1, b"hello")) == [ack(1)]
    service.waits(161)
    ((number, text),) = map(refusal, service.hears(data(1, b"hello")))
    assert (number, text) == (5, "this transfer is not known (any more); send the file again")
    assert service.received() == {"a": b"hello"}


def test_a_name_that_is_taken_gets_a_number(service: Service) -> None:
    service.hears(wrq(), data(1, b"one"))
    service.hears(wrq(), data(1, b"two"), by=BOB)
    assert service.received() == {"a": b"one", "a (2)": b"two"}


def test_a_received_file_and_a_refused_one_are_in_the_log(service: Service) -> None:
    with capturedLogs() as logs:
        service.hears(wrq(), data(1, b"hello"))
        service.hears(wrq(b".."))
    events = [{key: event[key] for key in event if not key.startswith("log_")} for event in logs]
    assert events == [
        {"file": "a", "size": 5, "digest": f"sha256={hashlib.sha256(b'hello').hexdigest()}", "peer": ANN[0]},
        {
            "code": "bad-name",
            "reason": "expected a plain file name, found a dot, a dash or a space in front: '..'",
            "peer": ANN[0],
        },
    ]


# Requests


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, ACK_0),
        ({"tsize": 5}, oack(tsize=5)),
        ({"tsize": 0}, oack(tsize=0)),
        ({"blksize": 1400, "tsize": 5}, oack(blksize=1400, tsize=5)),
        ({"tsize": 5, "blksize": 512, "timeout": 6}, oack(tsize=5, blksize=512, timeout=6)),
        ({"BlkSize": 8}, oack(blksize=8)),
        ({"blksize": 65464}, oack(blksize=65464)),
        ({"blksize": 65465}, oack(blksize=65464)),
        ({"blksize": 1024, "windowsize": 8}, oack(blksize=1024, windowsize=8)),
        ({"windowsize": 65535}, oack(windowsize=64)),
        ({"blksize": 65464, "windowsize": 8}, oack(blksize=65464, windowsize=1)),
        ({"blksize": 8192, "windowsize": 16}, oack(blksize=8192, windowsize=12)),
        ({"windowsize": 0, "timeout": 0, "multicast": ""}, ACK_0),
        ({"timeout": 256, "tsize": "x", "rollover": 1}, ACK_0),
        ({"tsize": "1" * 19}, ACK_0),
    ],
)
def test_options_are_answered_as_asked_or_left_out(
    service: Service, options: dict[str, object], answer: bytes
) -> None:
    assert service.hears(wrq(b"a", b"octet", **options)) == [answer]


@pytest.mark.parametrize("mode", [b"octet", b"OCTET", b"netascii", b"NetASCII"])
def test_the_mode_is_octet_or_netascii_in_any_case(service: Service, mode: bytes) -> None:
    assert service.hears(wrq(mode=mode)) == [ACK_0]


@pytest.mark.parametrize(
    ("packet", "number", "text"),
    [
        (wrq(mode=b"mail"), 4, "expected mode octet or netascii, found 'mail'"),
        (b"\0\2", 4, "expected a name and a mode, each ended by NUL"),
        (b"\0\2a\0octet", 4, "expected a name and a mode, each ended by NUL"),
        (wrq(b"a" * 1024), 4, "expected a request of at most 1024 bytes, found 1033"),
        (wrq(b"\xff"), 2, "expected a name in UTF-8, found something else"),
        (wrq(b""), 2, "expected a plain file name, found an empty one: ''"),
        (wrq(b"../a"), 2, "expected a plain file name, found a dot, a dash or a space in front: '..'"),
        (wrq(b"b/a"), 2, "expected a plain file name, found a path: b/a"),
        (wrq(b"b\\a"), 2, "expected a plain file name, found a path: "),
        (wrq(b"c:a"), 2, "expected a plain file name, found a character that not every system takes"),
        (wrq(blksize=7), 8, "expected blksize from 8 to 65464, found '7'"),
        (wrq(blksize="big"), 8, "expected blksize from 8 to 65464, found 'big'"),
        (wrq(tsize=101), 3, "expected at most 100 bytes, found 101"),
        (b"\0\1a\0octet\0", 2, "files are only received here, not sent"),
        (b"hello\n", 4, "expected a packet of TFTP"),
        (b"", 4, "expected a packet of TFTP"),
        (data(1, b"x"), 5, "this transfer is not known (any more); send the file again"),
    ],
)
def test_what_is_refused_is_told_in_one_line(
    start: Callable[..., Service], packet: bytes, number: int, text: str
) -> None:
    service = start(max_size=100)
    (answer,) = service.hears(packet)
    found = refusal(answer)
    assert found[0] == number
    assert found[1].startswith(text)
    assert service.received() == {}


@pytest.mark.parametrize("packet", [ack(1), oack(blksize=512), b"\0\5\0\2", b"\0\5\0\0no\0"])
def test_an_acknowledgement_or_an_error_is_never_answered(service: Service, packet: bytes) -> None:
    assert service.hears(packet) == []


def test_the_text_of_an_error_is_bounded(service: Service) -> None:
    (answer,) = service.hears(wrq("ö".encode() * 150 + b"\x1b[2J"))
    assert len(answer) <= 4 + 160 + 1
    _, text = refusal(answer)
    assert text.endswith("…")
    assert "\x1b" not in text


def test_slashes_in_front_of_a_name_mean_nothing(service: Service) -> None:
    service.hears(wrq(b"//a"), data(1, b"hello"))
    assert service.received() == {"a": b"hello"}


def test_a_size_that_does_not_fit_is_refused_before_the_first_block(start: Callable[..., Service]) -> None:
    service = start(quota=1000)
    ((number, text),) = map(refusal, service.hears(wrq(tsize=1001)))
    assert number == 3
    assert "the folder may hold 1000 bytes" in text


def test_a_file_of_unknown_size_is_refused_when_it_grows_too_large(start: Callable[..., Service]) -> None:
    service = start(max_size=600)
    service.hears(wrq(), data(1, b"x" * 512))
    ((number, text),) = map(refusal, service.hears(data(2, b"x" * 100)))
    assert (number, text) == (3, "expected at most 600 bytes, found more")
    assert service.parts() == []


@pytest.mark.parametrize("told", [4, 6])
def test_a_file_of_another_size_than_was_told_is_refused(service: Service, told: int) -> None:
    service.hears(wrq(tsize=told))
    ((number, text),) = map(refusal, service.hears(data(1, b"hello")))
    assert number == 0
    assert text.startswith(f"expected {told} bytes")
    assert service.received() == {}


def test_the_client_that_repeats_a_block_hears_again_why_it_was_refused(service: Service) -> None:
    service.hears(wrq(tsize=4))
    (answer,) = service.hears(data(1, b"hello"))
    assert service.hears(data(1, b"hello")) == [answer]


def test_a_block_that_is_larger_than_agreed_ends_the_transfer(service: Service) -> None:
    service.hears(wrq())
    ((number, text),) = map(refusal, service.hears(data(1, b"x" * 513)))
    assert (number, text) == (4, "expected blocks of 512 bytes, found 513")
    assert service.received() == {}


# netascii


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (b"a\r\nb\r\0c\nd\r", b"a\nb\rc\nd\r"),
        (b"x" * 511 + b"\r" + b"\ny", b"x" * 511 + b"\ny"),
        (b"x" * 511 + b"\r" + b"\0y", b"x" * 511 + b"\ry"),
        (b"x" * 511 + b"\r", b"x" * 511 + b"\r"),
        (b"a\r\0\r\n", b"a\r\n"),
        (b"\r\r\n", b"\r\n"),
    ],
)
def test_netascii_is_converted_over_the_ends_of_blocks_and_windows(
    service: Service, monkeypatch: pytest.MonkeyPatch, sent: bytes, stored: bytes
) -> None:
    monkeypatch.setattr("sockd_plugins.files.tftp.transfer._MOST_COLLECTED", 512)
    monkeypatch.setattr("sockd_plugins.files.tftp.transfer.LEAST_WINDOW", 512)
    service.hears(wrq(mode=b"netascii", tsize=3))
    for number in range(len(sent) // 512 + 1):
        service.hears(data(number + 1, sent[512 * number : 512 * (number + 1)]))
    assert service.received() == {"a": stored}


# Losses


def test_a_repeated_block_is_acknowledged_again_but_once_in_a_second(service: Service) -> None:
    block = data(1, b"x" * 512)
    service.hears(wrq(), block)
    assert service.hears(block, block, block) == [ack(1)]
    service.waits(1)
    assert service.hears(block) == [ack(1)]
    service.hears(data(2))
    assert service.received() == {"a": b"x" * 512}


def test_a_repeated_block_with_other_data_ends_the_transfer(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    ((number, text),) = map(refusal, service.hears(data(1, b"y" * 512)))
    assert (number, text) == (4, "block 1 came twice, with different data")
    assert service.received() == {}


def test_a_block_of_the_future_is_not_stored_and_tells_what_is_missing(service: Service) -> None:
    service.hears(wrq(), data(1, b"1" * 512))
    assert service.hears(data(3, b"3" * 512)) == [ack(1)]
    assert service.hears(data(2, b"2" * 512)) == [ack(2)]
    service.hears(data(3))
    assert service.received() == {"a": b"1" * 512 + b"2" * 512}


def test_a_window_is_acknowledged_at_its_end_only(service: Service) -> None:
    service.hears(wrq(windowsize=4))
    assert service.hears(*(data(number, b"x" * 512) for number in (1, 2, 3))) == []
    assert service.hears(data(4, b"x" * 512)) == [ack(4)]
    assert service.hears(data(5, b"x" * 512), data(6, b"x")) == [ack(6)]


def test_a_gap_in_a_window_is_answered_once_and_the_window_begins_there(service: Service) -> None:
    service.hears(wrq(windowsize=4))
    block = b"x" * 512
    assert service.hears(data(1, block), data(3, block), data(4, block)) == [ack(1)]
    assert service.hears(data(2, block), data(4, block)) == [ack(2)]
    assert service.hears(data(3, block), data(4, block), data(5, block)) == []
    assert service.hears(data(6, block)) == [ack(6)]


def test_a_gap_before_the_first_block_is_answered_with_block_0(service: Service) -> None:
    service.hears(wrq(windowsize=4))
    assert service.hears(data(2, b"x" * 512)) == [ACK_0]


def test_the_last_acknowledgement_is_repeated_ever_more_seldom(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    sent = [second for second in range(1, 161) if service.waits(1) == [ack(1)]]
    assert sent == [3, 5, 9, 17, 33, 65, 129]  # the first second has a block in it


def test_a_client_chooses_the_time_of_the_first_repeat(service: Service) -> None:
    service.hears(wrq(timeout=6), data(1, b"x" * 512))
    sent = [second for second in range(1, 161) if service.waits(1) == [ack(1)]]
    assert sent == [7, 13, 25, 49, 97]


def test_options_are_never_answered_twice_to_a_client_that_may_have_seen_them(service: Service) -> None:
    assert service.hears(wrq(blksize=1024)) == [oack(blksize=1024)]
    assert service.waits(159) == []


def test_a_client_of_usual_blocks_is_asked_for_the_first_one(service: Service) -> None:
    service.hears(wrq(tsize=5, blksize=512))
    assert service.waits(2) == [ACK_0]
    assert service.hears(data(1, b"hello")) == [ack(1)]


def test_a_repeated_request_is_answered_again_but_once_in_a_second(service: Service) -> None:
    request = wrq(blksize=1024)
    service.hears(request)
    assert service.hears(request, request) == [oack(blksize=1024)]
    service.waits(1)
    assert service.hears(request) == [oack(blksize=1024)]
    service.hears(data(1, b"hello"))
    assert service.received() == {"a": b"hello"}


def test_a_delayed_copy_of_the_request_changes_nothing(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    assert service.hears(wrq()) == []
    assert service.hears(data(2, b"y")) == [ack(2)]
    assert service.hears(wrq()) == []
    assert service.received() == {"a": b"x" * 512 + b"y"}


def test_the_same_request_after_a_while_begins_anew(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    service.waits(4)
    assert service.hears(wrq()) == [ACK_0]
    assert service.hears(data(1, b"y")) == [ack(1)]
    service.waits(3)
    assert service.hears(wrq()) == [ACK_0]
    assert service.received() == {"a": b"y"}


def test_another_request_from_the_same_address_begins_anew(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    assert service.hears(wrq(b"b")) == [ACK_0]
    assert service.hears(data(1, b"y")) == [ack(1)]
    assert service.received() == {"b": b"y"}


def test_a_silent_client_is_forgotten_after_160_seconds(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    service.waits(160)
    assert len(service.parts()) == 1
    service.waits(1)
    assert service.parts() == []
    ((number, _),) = map(refusal, service.hears(data(2, b"x")))
    assert number == 5


@pytest.mark.parametrize("packet", [b"\0\5\0\2", b"\0\5\0\0I give up\0"])
def test_an_error_of_the_client_ends_the_transfer(service: Service, packet: bytes) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    assert service.hears(packet) == []
    assert service.parts() == []


def test_packets_of_other_addresses_do_not_disturb(service: Service) -> None:
    service.hears(wrq())
    service.hears(wrq(b"b"), by=BOB)
    assert service.hears(data(1, b"ann")) == [ack(1)]
    assert service.hears(data(1, b"bob"), by=BOB) == [ack(1)]
    assert service.received() == {"a": b"ann", "b": b"bob"}


# Bounds


def test_a_client_waits_while_the_disk_has_two_windows(service: Service, disk: Disk) -> None:
    service.hears(wrq(blksize=LEAST_WINDOW // 4))
    block = b"x" * (LEAST_WINDOW // 4)
    for number in range(1, 8):
        assert service.hears(data(number, block)) == [ack(number)]
    assert service.hears(data(8, block)) == []
    assert service.hears(data(8, block), data(9, block)) == []
    assert service.waits(100) == []
    disk.goes_on()
    assert service.says() == [ack(8)]
    service.hears(data(9))
    disk.goes_on()
    disk.goes_on()
    assert service.says() == [ack(9)]
    assert service.received() == {"a": block * 8}


@pytest.mark.parametrize(
    ("before", "after", "block", "window"),
    # A kernel with the usual net.core.rmem_max doubles what it allows.
    [(USUAL_BUFFER, 2 * USUAL_BUFFER, 8192, b"24"), (100_000, 100_000, 4000, b"11")],
)
def test_windows_fit_into_the_buffer_which_is_larger_than_usual_unless_it_was_chosen(
    start: Callable[..., Service],
    monkeypatch: pytest.MonkeyPatch,
    before: int,
    after: int,
    block: int,
    window: bytes,
) -> None:
    sizes = {"now": before}
    monkeypatch.setattr(Service, "getsockopt", lambda *_: sizes["now"])
    monkeypatch.setattr(Service, "setsockopt", lambda *_: sizes.update(now=2 * USUAL_BUFFER))
    (answer,) = start().hears(wrq(blksize=block, windowsize=64))
    assert answer.endswith(b"windowsize\0" + window + b"\0")
    assert sizes["now"] == after


def test_no_block_is_taken_beyond_the_window(service: Service, disk: Disk) -> None:
    size = LEAST_WINDOW // 8
    service.hears(wrq(blksize=size, windowsize=8))
    service.hears(*(data(number, b"x" * size) for number in range(1, 9)))
    assert service.hears(*(data(number, b"x" * size) for number in range(9, 40))) == []
    disk.goes_on()
    assert service.says() == [ack(16)]


@pytest.mark.parametrize("packet", [b"\0\3", b"\0\3\0", b"\0\3\0\0"])
def test_a_packet_without_a_number_is_no_block_even_while_none_is_awaited(
    service: Service, disk: Disk, packet: bytes
) -> None:
    size = LEAST_WINDOW // 2
    service.hears(wrq(blksize=size), *(data(number, b"x" * size) for number in (1, 2, 3, 4)))
    service.says()
    assert service.hears(packet) == []
    disk.goes_on()
    assert service.says() == [ack(4)]
    service.hears(packet, data(5))
    disk.goes_on()
    disk.goes_on()
    assert service.received() == {"a": b"x" * size * 4}


def test_while_memory_is_short_no_more_of_a_window_is_taken(start: Callable[..., Service]) -> None:
    service = start(memory=1 << 20)
    buffers = service.plugin._buffers
    service.hears(wrq(windowsize=8))
    buffers.go_on()  # another upload, which does not wait for its peer
    buffers.add(1 << 20)
    service.hears(*(data(number, b"x" * 512) for number in range(1, 9)))
    assert service.says() == []
    assert buffers._held <= (1 << 20) + 512
    buffers.free(1 << 20)
    buffers.wait()
    assert service.says() == [ack(1)]
    service.hears(data(2))
    assert service.received() == {"a": b"x" * 512}


def test_when_memory_is_short_all_that_is_there_is_written_first(start: Callable[..., Service]) -> None:
    service = start(memory=1 << 20)
    buffers = service.plugin._buffers
    service.hears(wrq())
    buffers.go_on()  # another upload, which does not wait for its peer
    buffers.add(1 << 20)
    assert service.hears(data(1, b"x" * 512)) == []
    buffers.free(1 << 20)
    buffers.wait()
    assert service.says() == [ack(1)]
    assert service.hears(data(2)) == [ack(2)]
    assert service.received() == {"a": b"x" * 512}


def test_the_memory_of_an_ended_transfer_is_free(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512), b"\0\5\0\0\0")
    assert service.plugin._buffers._held == 0
    assert service.plugin._buffers.holders == set()
    assert service.plugin._buffers._busy == 0


def test_a_fast_client_that_stalls_keeps_no_more_memory_than_a_slow_one(service: Service) -> None:
    size = LEAST_WINDOW // 4
    service.hears(wrq(blksize=size))
    for number in range(1, 11):  # 4 of them are written, and then the window is larger
        service.hears(data(number, b"x" * size))
    assert service.plugin._buffers._held == 6 * size
    service.waits(2)
    assert service.plugin._buffers._held == 0


def test_a_client_that_falls_behind_the_least_rate_is_ended(start: Callable[..., Service]) -> None:
    service = start(min_rate=100)
    service.hears(wrq(blksize=8))
    said = []
    for number in range(1, 400):
        said += service.hears(data(number, b"x" * 8)) + service.waits(1)
    (answer,) = [packet for packet in said if packet[:2] == b"\0\5"][:1]
    assert refusal(answer) == (0, "expected at least 100 bytes a second")


def test_a_source_has_a_bound_of_transfers(start: Callable[..., Service]) -> None:
    service = start(tftp_source_transfers=1)
    service.hears(wrq())
    ((number, text),) = map(refusal, service.hears(wrq(b"b"), by=BOB))
    assert (number, text) == (3, "a source may have 1 transfers, this one has 1")
    assert service.hears(wrq(b"b"), by=("192.0.2.2", 40001)) == [ACK_0]
    service.hears(data(1))
    assert service.hears(wrq(b"b"), by=BOB) == [ACK_0]


def test_a_transfer_without_a_block_gives_way_to_another_one(start: Callable[..., Service]) -> None:
    service = start(tftp_transfers=2)
    service.hears(wrq(), data(1, b"x" * 512))
    service.hears(wrq(b"forged"), by=BOB)
    assert service.hears(wrq(b"c"), by=("192.0.2.3", 1)) == [ACK_0]
    assert service.hears(data(1, b"x" * 512), by=("192.0.2.3", 1)) == [ack(1)]
    ((number, text),) = map(refusal, service.hears(wrq(b"d"), by=("192.0.2.4", 1)))
    assert (number, text) == (3, "all 2 places for transfers are taken")
    assert service.hears(data(2)) == [ack(2)]


def test_a_transfer_that_is_silent_for_long_gives_way_to_another_one(start: Callable[..., Service]) -> None:
    service = start(tftp_transfers=1)
    service.hears(wrq(), data(1, b"x" * 512))
    service.waits(20)
    assert service.hears(wrq(b"b"), by=BOB)[0][:2] == b"\0\5"
    service.waits(20)
    assert service.hears(wrq(b"b"), by=BOB) == [ACK_0]


def test_a_flood_of_requests_queues_no_more_work_for_the_disk_than_there_are_places(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start(tftp_transfers=3)
    begun: list[Deferred[None]] = []
    begin = Engine.begin

    async def slow(engine: Engine, *args: Any) -> Incoming:
        begun.append(Deferred())
        await begun[-1]
        return await begin(engine, *args)

    monkeypatch.setattr(Engine, "begin", slow)
    for number in range(1, 21):
        service.hears(wrq(), by=(f"198.51.100.{number}", 1))
    assert len(begun) == 3
    for one in begun[:3]:
        one.callback(None)
    service.hears(wrq(b"b"))
    begun[3].callback(None)
    assert service.says() == [ACK_0], "a request whose answer has brought no block gives way"


def test_answers_that_are_kept_have_a_bound(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockd_plugins.files.tftp.receiver._MOST_KEPT", 2)
    peers = [("192.0.2.1", port) for port in (1, 2, 3)]
    for peer in peers:
        service.hears(wrq(), data(1), by=peer)
    assert [service.hears(data(1), by=peer)[0][:2] for peer in peers] == [b"\0\5", b"\0\4", b"\0\4"]


def test_an_operator_ends_a_transfer_and_its_client_is_told(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    engine = service.plugin._engine
    (listed,) = service.succeeds(engine.list())
    assert service.succeeds(engine.end(listed.id)) is None
    ((number, text),) = map(refusal, service.says())
    assert (number, text) == (0, "the operator has ended this upload")


# The end of the service, and its faults


def test_at_the_end_clients_are_told_to_begin_again(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    service.port.doStop()
    ((number, text),) = map(refusal, service.says())
    assert (number, text) == (0, "the service ends or changes; send the file again")
    assert service.parts() == []


def test_a_transfer_that_runs_ends_before_the_daemon_does_and_none_begins(service: Service) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    drained = service.port.drain()
    ((number, text),) = map(refusal, service.hears(wrq(b"b"), by=BOB))
    assert (number, text) == (0, "the service ends; send the file later")
    assert not drained.called
    assert service.hears(data(2, b"end")) == [ack(2)]
    assert drained.called
    assert service.received() == {"a": b"x" * 512 + b"end"}


@pytest.mark.parametrize("packet", [b"\0\5\0\0\0", wrq(b"b")])
def test_a_transfer_that_its_client_ends_keeps_no_daemon(service: Service, packet: bytes) -> None:
    service.hears(wrq(), data(1, b"x" * 512))
    drained = service.port.drain()
    assert not drained.called
    service.hears(packet)
    assert drained.called


def test_a_transfer_whose_client_is_silent_keeps_no_daemon_for_ever(service: Service) -> None:
    service.hears(wrq())
    drained = service.port.drain()
    service.waits(161)
    assert drained.called


def test_without_a_transfer_the_daemon_ends_at_once(service: Service) -> None:
    assert service.port.drain().called


def test_a_file_that_is_being_stored_at_the_end_is_stored(service: Service, disk: Disk) -> None:
    service.hears(wrq(), data(1, b"hello"))
    disk.goes_on()
    service.port.doStop()
    stopped = Deferred.fromCoroutine(service.plugin._silence())
    assert not stopped.called
    disk.goes_on()
    assert stopped.called
    assert service.received() == {"a": b"hello"}


def test_a_full_disk_is_told_and_leaves_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(upload: Incoming, pieces: list[Piece]) -> None:
        raise FileRefused("disk-full", "no space left on device")

    service.hears(wrq())
    monkeypatch.setattr(Incoming, "write", full)
    ((number, text),) = map(refusal, service.hears(data(1, b"hello")))
    assert (number, text) == (3, "no space left on device")


def test_a_fault_of_the_program_ends_one_transfer(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def faulty(upload: Incoming, pieces: list[Piece]) -> None:
        raise ZeroDivisionError

    service.hears(wrq())
    monkeypatch.setattr(Incoming, "write", faulty)
    with capturedLogs() as logs:
        ((number, text),) = map(refusal, service.hears(data(1, b"hello")))
    assert (number, text) == (0, "the server failed")
    assert [event["log_format"] for event in logs] == ["plugin fault"]


def test_a_sender_without_an_address_is_not_answered(service: Service) -> None:
    service.port.datagramReceived(wrq(), None)
    assert service.sent == []
