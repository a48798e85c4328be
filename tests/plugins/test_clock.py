from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd.errors import ValueFault
from sockd.plugin import Context
from sockd_plugins.clock import Time

PEER = ("192.0.2.1", 40_000)

WINTER = timezone(timedelta(hours=1), "CET")
NOW = datetime(2001, 12, 31, 3, 5, 9, 4_200, tzinfo=WINTER)


class Sent(list[tuple[bytes, Any]]):
    """Datagram transport that records what is written."""

    def write(self, data: bytes, addr: Any) -> None:
        self.append((data, addr))


class Peer:
    """Connection to a time service."""

    def __init__(self, time: Time) -> None:
        self.clock = Clock()
        factory: Any = time.stream_factory("default", context(self.clock))
        self.protocol = factory.buildProtocol(IPv4Address("TCP", *PEER))
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def lines(self) -> list[bytes]:
        """Return the answers since the last call."""
        answers: list[bytes] = self.transport.value().splitlines(keepends=True)
        self.transport.clear()
        return answers


def context(clock: Clock) -> Context:
    return Context("time", clock, Logger(), Path("state"))


def stopped(**options: Any) -> Time:
    """Return a service whose time never changes."""
    time = Time(**options)
    time._now = lambda zone: NOW
    return time


def answered(datagram: bytes, addr: Any = PEER, time: Time | None = None) -> Sent:
    sent = Sent()
    protocol: Any = (time or stopped()).datagram_protocol("default", context(Clock()))
    protocol.makeConnection(sent)
    protocol.datagramReceived(datagram, addr)
    return sent


def answer(datagram: bytes) -> bytes:
    [(reply, addr)] = answered(datagram)
    assert addr == PEER
    return reply


# Formats.


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("%a %A %b %B %h", "Mon Monday Dec December Dec"),
        ("%Y %y %C %m %d %j", "2001 01 20 12 31 365"),
        ("%e|%H %I %M %S %f %p", "31|03 03 05 09 004200 AM"),
        ("%G %g %V %u", "2002 02 01 1"),
        ("%U %W %w", "52 53 1"),
        ("%F %D %x", "2001-12-31 12/31/01 12/31/01"),
        ("%T %X %R %r", "03:05:09 03:05:09 03:05 03:05:09 AM"),
        ("%c", "Mon Dec 31 03:05:09 2001"),
        ("%z %Z", "+0100 CET"),
        ("%s", "1009764309"),
        ("%n%t%%", "\n\t%"),
        ("%-H %_H %0H %H", "3  3 03 03"),
        ("%-e %_j %0e", "31 365 31"),
        ("%%H %H%H", "%H 0303"),
        ("um %H Uhr, 日本 %Y年", "um 03 Uhr, 日本 2001年"),
    ],
)
def test_every_directive_gives_its_part_of_the_time(format_: str, text: str) -> None:
    assert answer(format_.encode()) == text.encode()


def test_an_empty_request_gives_the_default_format() -> None:
    assert answer(b"") == b"2001-12-31 03:05:09"
    assert answered(b"", time=stopped(format="%H Uhr")) == [(b"03 Uhr", PEER)]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (b"%Q", b"unknown directive %Q at character 1"),
        (b"%H:%Q", b"unknown directive %Q at character 4"),
        ("日%Q".encode(), b"unknown directive %Q at character 2"),
        (b"%H%", b"unknown directive % at character 3"),
        (b"%-", b"unknown directive %- at character 1"),
        (b"%1000d", b"unknown directive %1 at character 1"),
        (b"%-9d", b"unknown directive %-9 at character 1"),
        (b"%-_d", b"unknown directive %-_ at character 1"),
        (b"%^a", b"unknown directive %^ at character 1"),
        (b"%Ey", b"unknown directive %E at character 1"),
        (b"%Od", b"unknown directive %O at character 1"),
        (b"%:z", b"unknown directive %: at character 1"),
        (b"%-a", b"unknown directive %-a at character 1"),
        (b"%0s", b"unknown directive %0s at character 1"),
        ("%é".encode(), "unknown directive %é at character 1".encode()),
        (b"", b""),
        (b"noon", b"no directive such as %H"),
        (b"2001-12-31 03:05:09", b"no directive such as %H"),
        (b"%H\0", b"unprintable U+0000 at character 3"),
        (b"%H\n%M", b"unprintable U+000A at character 3"),
        (b"%\x1b[2J", b"unprintable U+001B at character 2"),
        (b"\x7f%H", b"unprintable U+007F at character 1"),
        ("%H\u202e".encode(), b"unprintable U+202E at character 3"),
        ("%H\u2028".encode(), b"unprintable U+2028 at character 3"),
        (b"%H\xff", b"not UTF-8 at byte 3"),
        (b"%H\xed\xa0\x80", b"not UTF-8 at byte 3"),
        (b"%H" * 64, None),
        (b"%H" * 64 + b"!", b"more than 128 bytes in the request"),
        (bytes(60_000), b"more than 128 bytes in the request"),
        (b"%c" * 10, None),
        (b"%c" * 11, b"more than 256 bytes in the answer"),
        (b"%c" * 64, b"more than 256 bytes in the answer"),
    ],
)
def test_an_invalid_format_is_refused_with_one_line_that_says_why(
    request_: bytes, error: bytes | None
) -> None:
    refused = answer(request_).startswith(b"error:")
    assert refused == bool(error)
    if error:
        assert answer(request_) == b"error: " + error


fragments = st.sampled_from(
    ["%", "%%", "-", "_", "0", "%c", "%Z", "%-d", "%n", "1", "Q", "é", "\0", "error:"]
)
requests = st.lists(fragments | st.text(max_size=3)).map("".join).map(str.encode) | st.binary(max_size=200)


@given(request=requests)
def test_no_answer_has_more_bytes_than_the_guard_lets_through(request: bytes) -> None:
    for reply, _ in answered(request):
        assert len(reply) <= Time.replies.floor == 256


@given(request=requests)
def test_two_services_that_a_forged_datagram_sets_at_each_other_fall_silent(request: bytes) -> None:
    sent = answered(request)
    for _ in range(4):
        sent = answered(sent[0][0]) if sent else sent
    assert sent == []


# Datagrams.


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_line_feed_of_a_datagram_is_no_part_of_the_format(end: bytes) -> None:
    assert answer(b"%H:%M" + end) == b"03:05"
    assert answer(end) == b"2001-12-31 03:05:09"


@pytest.mark.parametrize("request_", [b"error: unknown directive %Q at character 1", b"error:%H", b"error:"])
def test_an_error_is_never_answered_over_datagrams(request_: bytes) -> None:
    assert answered(request_) == []


def test_a_datagram_from_no_address_is_not_answered() -> None:
    assert answered(b"%H", addr=None) == []


# Streams.


def test_each_line_is_answered_by_a_line_in_the_same_order() -> None:
    peer = Peer(stopped())
    peer.protocol.dataReceived(b"%H\n%M\r\n\n%Q\nerror: %S\n%")
    assert peer.lines() == [
        b"03\n",
        b"05\n",
        b"2001-12-31 03:05:09\n",
        b"error: unknown directive %Q at character 1\n",
        b"error: 09\n",
    ]
    peer.protocol.dataReceived(b"Y\n")
    assert peer.lines() == [b"2001\n"]
    assert not peer.transport.disconnecting


def test_a_telnet_programs_negotiation_is_no_part_of_the_format_nor_of_the_answer() -> None:
    peer = Peer(stopped())
    peer.protocol.dataReceived(b"\xff\xfb\x1f%Y\r\n")
    assert peer.transport.value() == b"2001\r\n"


def test_a_line_may_come_byte_by_byte() -> None:
    peer = Peer(stopped())
    for byte in "%H Uhr, 年\r\n".encode():
        assert peer.lines() == []
        peer.protocol.dataReceived(bytes((byte,)))
    assert peer.lines() == ["03 Uhr, 年\n".encode()]


@pytest.mark.parametrize(("left", "answers"), [(b"", []), (b"%H", [b"03\n"]), (b"%M\r", [b"05\n"])])
def test_a_line_left_without_its_end_is_answered_before_the_close(left: bytes, answers: list[bytes]) -> None:
    peer = Peer(stopped())
    peer.protocol.dataReceived(left)
    IHalfCloseableProtocol(peer.protocol).readConnectionLost()
    assert peer.lines() == answers
    assert peer.transport.disconnecting


@pytest.mark.parametrize("size", [1, 100, 1_000])
def test_a_line_over_128_bytes_is_refused_once_and_the_connection_closed(size: int) -> None:
    peer = Peer(stopped())
    stream = b"%H\n" + b"x" * 1_000
    for start in range(0, len(stream), size):
        peer.protocol.dataReceived(stream[start : start + size])
    assert peer.lines() == [b"03\n", b"error: more than 128 bytes in the request\n"]
    assert peer.transport.disconnecting


def test_a_line_of_128_bytes_is_answered() -> None:
    peer = Peer(stopped())
    peer.protocol.dataReceived(b"%H" + b"x" * 126 + b"\r\n")
    assert peer.lines() == [b"03" + b"x" * 126 + b"\n"]


def test_a_flood_of_lines_is_answered_in_turns_and_not_read_meanwhile() -> None:
    peer = Peer(stopped(format="%H"))
    peer.protocol.dataReceived(b"\n" * 300 + b"%M")
    assert peer.lines() == [b"03\n"] * 256
    assert peer.transport.producerState == "paused"
    peer.protocol.dataReceived(b"\n%S\n")  # a transport may deliver what it had already read
    assert peer.lines() == []
    peer.clock.advance(0)
    assert peer.lines() == [b"03\n"] * 44 + [b"05\n", b"09\n"]
    assert peer.transport.producerState == "producing"
    assert peer.clock.getDelayedCalls() == []


def test_a_peer_that_is_gone_has_no_turn_left() -> None:
    peer = Peer(stopped())
    peer.protocol.dataReceived(b"\n" * 600)
    peer.protocol.connectionLost(Failure(ConnectionDone()))
    assert peer.clock.getDelayedCalls() == []


def test_a_peer_that_is_gone_between_turns_leaves_nothing() -> None:
    peer = Peer(stopped())
    peer.protocol.dataReceived(b"%H\n")
    peer.protocol.connectionLost(Failure(ConnectionDone()))
    assert peer.clock.getDelayedCalls() == []


# Zones and options.


def test_the_time_is_that_of_the_zone() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    [(reply, _)] = answered(b"%Y-%m-%dT%H:%M:%S%z", time=Time(zone="Asia/Kolkata"))
    told = datetime.fromisoformat(reply.decode())
    assert told.utcoffset() == timedelta(hours=5, minutes=30)
    assert before <= told <= datetime.now(UTC)


def test_local_is_the_zone_of_the_machine() -> None:
    [(reply, _)] = answered(b"%z %Z", time=Time())
    assert reply.decode() == datetime.now().astimezone().strftime("%z %Z")


def test_seconds_since_1970_are_the_same_in_every_zone() -> None:
    kolkata = Time(zone="Asia/Kolkata")

    def now(zone: tzinfo | None) -> datetime:
        return NOW.astimezone(zone)

    kolkata._now = now
    assert answered(b"%s %H:%M", time=kolkata) == [(b"1009764309 07:35", PEER)]


def fault(**options: str) -> ValueFault:
    with pytest.raises(ValidationError) as caught:
        Time.model_validate(options)
    error = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(error, ValueFault)
    return error


@pytest.mark.parametrize(
    ("zone", "nearest"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Local", "local"),
        ("../../etc/passwd", None),
        ("/etc/passwd", None),
        ("", None),
        ("\0", None),
    ],
)
def test_an_unknown_zone_is_a_fault_that_names_the_one_probably_meant(zone: str, nearest: str | None) -> None:
    found = fault(zone=zone)
    assert (found.found, found.nearest) == (repr(zone), nearest)


def test_a_folder_of_zones_is_no_zone() -> None:
    assert fault(zone="America").found == "'America'"


def test_a_default_format_that_could_not_be_answered_is_a_fault_at_its_place() -> None:
    found = fault(format="%Y-%Q")
    assert found.found == "unknown directive %Q at character 4"
    assert (found.offset, found.length) == (3, 2)
    assert fault(format="noon").found == "no directive such as %H"
