import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd.errors import PluginError, ValueFault
from sockd.plugin import Context
from sockd_plugins.banner import Banner

PEER = ("192.0.2.1", 40_000)


class Sent(list[tuple[bytes, Any]]):
    """Datagram transport that records what is written."""

    def write(self, data: bytes, addr: Any) -> None:
        self.append((data, addr))


class HalfCloseable(StringTransport):
    """Stream transport that records what was written before its own side was ended."""

    ended = False
    got = b""

    def loseWriteConnection(self) -> None:
        self.ended, self.got = True, self.value()  # type: ignore[no-untyped-call]


class Peer:
    """Connection to a banner."""

    def __init__(self, banner: Banner) -> None:
        self.clock = Clock()
        factory: Any = banner.stream_factory("default", context(self.clock))
        self.protocol = factory.buildProtocol(IPv4Address("TCP", *PEER))
        self.transport = HalfCloseable()  # type: ignore[no-untyped-call]  # as its base
        self.protocol.makeConnection(self.transport)

    @property
    def got(self) -> bytes:
        return self.transport.got

    @property
    def state(self) -> str:
        if self.transport.disconnecting:
            return "closed"
        return "waits for the peer's end" if self.transport.ended else "open"


def context(clock: Clock) -> Context:
    return Context("banner", clock, Logger(), Path("state"))


def started(**options: Any) -> Banner:
    banner = Banner(**options)
    banner.start(context(Clock()))
    return banner


# Streams.


def test_a_peer_that_connects_gets_the_text_and_the_end_of_our_side() -> None:
    peer = Peer(started(text="hello, wörld"))
    assert peer.got == "hello, wörld".encode()
    assert peer.state == "waits for the peer's end"


def test_after_a_message_means_not_before_the_first_bytes_and_only_once() -> None:
    peer = Peer(started(text="hello", after="message"))
    assert (peer.got, peer.state) == (b"", "open")
    peer.protocol.dataReceived(b"G")
    assert (peer.got, peer.state) == (b"hello", "waits for the peer's end")
    peer.protocol.dataReceived(b"ET /")
    assert (peer.got, peer.state) == (b"hello", "waits for the peer's end")


@pytest.mark.parametrize("after", ["connect", "message"])
def test_a_peer_that_sends_is_not_closed_before_it_has_closed(after: str) -> None:
    peer = Peer(started(text="hello", after=after))
    peer.protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    assert (peer.got, peer.state) == (b"hello", "waits for the peer's end")
    IHalfCloseableProtocol(peer.protocol).writeConnectionLost()
    assert peer.state == "waits for the peer's end"
    IHalfCloseableProtocol(peer.protocol).readConnectionLost()
    assert (peer.got, peer.state) == (b"hello", "closed")


def test_a_peer_that_ends_its_side_without_a_message_gets_nothing() -> None:
    peer = Peer(started(text="hello", after="message"))
    IHalfCloseableProtocol(peer.protocol).readConnectionLost()
    assert (peer.got, peer.state) == (b"", "closed")


def test_a_peer_that_never_ends_is_closed_after_five_seconds() -> None:
    peer = Peer(started(text="hello"))
    peer.clock.advance(4.9)
    peer.protocol.dataReceived(b"x")
    assert peer.state == "waits for the peer's end"
    peer.clock.advance(0.1)
    assert peer.state == "closed"


def test_a_peer_that_feeds_on_is_closed_after_64_kib() -> None:
    peer = Peer(started(text="hello"))
    for _ in range(64):
        peer.protocol.dataReceived(bytes(1024))
    assert peer.state == "waits for the peer's end"
    peer.protocol.dataReceived(b"x")
    assert (peer.got, peer.state) == (b"hello", "closed")


@pytest.mark.parametrize("seconds", [0.0, 6.0])
def test_no_deadline_outlives_the_connection(seconds: float) -> None:
    peer = Peer(started(text="hello"))
    peer.clock.advance(seconds)
    peer.protocol.connectionLost(Failure(ConnectionDone()))
    assert peer.clock.getDelayedCalls() == []


def test_a_connection_that_is_lost_before_its_message_has_no_deadline() -> None:
    peer = Peer(started(text="hello", after="message"))
    peer.protocol.connectionLost(Failure(ConnectionDone()))
    assert peer.clock.getDelayedCalls() == []


# Datagrams.


def answered(banner: Banner, datagram: bytes, addr: Any = PEER) -> Sent:
    sent = Sent()
    protocol: Any = banner.datagram_protocol("default", context(Clock()))
    protocol.makeConnection(sent)
    protocol.datagramReceived(datagram, addr)
    return sent


@pytest.mark.parametrize("after", ["connect", "message"])
@pytest.mark.parametrize("datagram", [b"", b"anything", bytes(60_000)])
def test_every_datagram_is_answered_by_the_text(after: str, datagram: bytes) -> None:
    assert answered(started(text="hello", after=after), datagram) == [(b"hello", PEER)]


def test_a_datagram_from_no_address_is_not_answered() -> None:
    assert answered(started(text="hello"), b"x", addr=None) == []


def test_the_guard_lets_the_text_through_and_no_more() -> None:
    replies = started(text="é" * 10).replies
    assert (replies.factor, replies.floor, replies.unasked) == (0, 20, False)


def test_a_text_that_does_not_fit_a_datagram_serves_streams_only() -> None:
    assert answered(started(text="x" * 1_232), b"") == [(b"x" * 1_232, PEER)]
    long = started(text="x" * 1_233)
    assert Peer(long).got == b"x" * 1_233
    with pytest.raises(PluginError, match="at most 1232 bytes for datagrams, found 1233"):
        long.datagram_protocol("default", context(Clock()))


# Options.


def test_the_text_of_a_file_is_sent_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "motd"
    file.write_bytes(b"\xff\0no text\r\n")
    banner = started(file=file)
    assert Peer(banner).got == b"\xff\0no text\r\n"
    assert answered(banner, b"") == [(b"\xff\0no text\r\n", PEER)]
    assert banner.replies.floor == 11


def test_a_file_counts_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "motd").write_bytes(b"hello")
    banner = Banner.model_validate({"file": "motd"}, context={"folder": tmp_path})
    assert Peer(banner).got == b"hello"


def test_every_peer_gets_the_file_as_it_was_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "motd"
    file.write_bytes(b"before")
    banner = started(file=file)
    file.write_bytes(b"after it")
    assert (Peer(banner).got, banner.replies.floor) == (b"before", 6)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none", "no such file or directory"),
        ("folder", "expected a regular file, found a folder"),
        ("pipe", "expected a regular file, found a pipe"),
        ("long", "expected at most 1048576 bytes, found more"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault_of_its_key(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(bytes(1024 * 1024 + 1))
    with pytest.raises(ValidationError) as caught:
        Banner.model_validate({"file": name}, context={"folder": tmp_path})
    [error] = caught.value.errors()
    assert error["loc"] == ("file",)
    fault = error["ctx"]["error"]
    assert isinstance(fault, ValueFault)
    assert (fault.expected, fault.found) == (
        "a readable file of at most 1048576 bytes",
        f"{tmp_path / name}: {why}",
    )


def test_a_file_may_have_one_mebibyte(tmp_path: Path) -> None:
    file = tmp_path / "motd"
    file.write_bytes(bytes(1024 * 1024))
    assert len(Peer(started(file=file)).got) == 1024 * 1024


def test_a_file_that_has_changed_is_another_configuration(tmp_path: Path) -> None:
    file = tmp_path / "motd"
    file.write_bytes(b"before")
    before = Banner.model_validate({"file": file}).model_dump()
    file.write_bytes(b"after it")
    assert Banner.model_validate({"file": file}).model_dump() != before


@pytest.mark.parametrize(("options", "found"), [({}, "neither"), ({"text": "hello", "file": "motd"}, "both")])
def test_there_is_either_a_text_or_a_file(options: dict[str, str], found: str, tmp_path: Path) -> None:
    (tmp_path / "motd").write_bytes(b"hello")
    with pytest.raises(ValidationError) as caught:
        Banner.model_validate(options, context={"folder": tmp_path})
    fault = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(fault, ValueFault)
    assert (fault.expected, fault.found) == ("either text or file", found)


def test_an_empty_text_is_a_text() -> None:
    peer = Peer(started(text=""))
    assert (peer.got, peer.state) == (b"", "waits for the peer's end")
