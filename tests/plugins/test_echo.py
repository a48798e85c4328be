from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger

from sockd.plugin import Context
from sockd_plugins.echo import Echo

CONTEXT = Context("echo", Clock(), Logger(), Path("state"))
PEER = ("192.0.2.1", 40_000)


class Sent(list[tuple[bytes, Any]]):
    """Datagram transport that records what is written."""

    def write(self, data: bytes, addr: Any) -> None:
        self.append((data, addr))


def connected() -> tuple[Any, StringTransport]:
    protocol = Echo().stream_factory("default", CONTEXT).buildProtocol(IPv4Address("TCP", *PEER))
    assert protocol is not None
    transport = StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport


def answered(datagram: bytes, addr: Any) -> Sent:
    sent = Sent()
    protocol: Any = Echo().datagram_protocol("default", CONTEXT)
    protocol.makeConnection(sent)
    protocol.datagramReceived(datagram, addr)
    return sent


@given(pieces=st.lists(st.binary(min_size=1)))
def test_every_segment_goes_back_at_once_byte_for_byte(pieces: list[bytes]) -> None:
    protocol, transport = connected()
    for piece in pieces:
        transport.clear()
        protocol.dataReceived(piece)
        assert transport.value() == piece


def test_the_connection_stays_open_for_more() -> None:
    protocol, transport = connected()
    protocol.dataReceived(b"one")
    protocol.dataReceived(b"two")
    assert transport.value() == b"onetwo"
    assert not transport.disconnecting


@given(datagram=st.binary())
def test_every_datagram_goes_back_to_its_sender_byte_for_byte(datagram: bytes) -> None:
    assert answered(datagram, PEER) == [(datagram, PEER)]


def test_an_empty_datagram_is_answered_by_an_empty_one() -> None:
    assert answered(b"", PEER) == [(b"", PEER)]


def test_unix_peers_are_answered_by_path_and_by_abstract_name() -> None:
    assert answered(b"x", "/run/peer.sock") == [(b"x", "/run/peer.sock")]
    assert answered(b"x", b"\0peer") == [(b"x", b"\0peer")]


def test_a_datagram_from_no_address_is_not_answered() -> None:
    assert answered(b"x", None) == []


def test_no_more_goes_back_than_came() -> None:
    assert (Echo.replies.factor, Echo.replies.floor, Echo.replies.unasked) == (1, 0, False)
