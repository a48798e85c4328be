from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Protocol
from zope.interface.verify import verifyObject

from sockd.tls.credentials import Credentials
from tests.tls.ends import HIGH_WATER, HalfCloser, Pair, Raw, Recorder, connected

RECORD = 16384


class Echo(Recorder):
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        assert self.transport is not None
        self.transport.write(data)


def test_a_stream_has_the_interfaces_of_transports_and_protocols(credentials: Credentials) -> None:
    pair = connected(credentials)
    verifyObject(IHalfCloseableProtocol, pair.stream)
    pair.raw.getHost = pair.raw.getPeer  # type: ignore[attr-defined]
    for name in ("getTcpNoDelay", "setTcpNoDelay", "getTcpKeepAlive", "setTcpKeepAlive"):
        setattr(pair.raw, name, lambda _=None: True)
    verifyObject(ISSLTransport, pair.stream)
    assert pair.stream.getPeer() == pair.raw.getPeer()
    assert pair.stream.raw is pair.raw


@pytest.mark.parametrize("name", ["direct_write", "dataBuffer", "closing"])
def test_nothing_reaches_the_transport_below_past_the_encryption(credentials: Credentials, name: str) -> None:
    pair = connected(credentials)
    pair.raw.direct_write = pair.raw.write  # type: ignore[attr-defined]
    assert not hasattr(pair.stream, name)


# Data.


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 3 * RECORD), max_size=5),
    cuts=st.lists(st.integers(1, 20_000), min_size=1, max_size=50),
    version=st.sampled_from([SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]),
)
def test_data_arrives_whole_in_both_directions_however_it_is_cut(
    credentials: Credentials, sizes: list[int], cuts: list[int], version: int
) -> None:
    pair = connected(credentials, Echo(), version=version)
    sent = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    wire = b"".join(pair.client.encrypt(data) for data in sent if data)
    while wire:
        cut = cuts.pop() if len(cuts) > 1 else cuts[0]
        pair.to_server(wire[:cut])
        wire = wire[cut:]
    pair.exchange()
    assert pair.protocol.data == b"".join(sent)
    assert pair.client.heard == b"".join(sent)


def test_ciphertext_may_come_byte_by_byte(credentials: Credentials) -> None:
    pair = connected(credentials)
    for byte in pair.client.encrypt(b"one") + pair.client.encrypt(b"two"):
        pair.to_server(bytes([byte]))
    assert pair.protocol.reads == [b"one", b"two"]


def test_one_read_is_one_delivery(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.say(b"x" * 100_000)
    pair.to_server(pair.client.encrypt(b"one") + pair.client.encrypt(b"two"))
    assert pair.protocol.reads == [b"x" * 100_000, b"onetwo"]


@pytest.mark.parametrize("size", [1, RECORD, RECORD + 1, 1_000_000])
def test_one_write_is_one_write_below(credentials: Credentials, size: int) -> None:
    pair = connected(credentials)
    before = pair.raw.writes
    pair.stream.write(b"x" * size)
    assert pair.raw.writes == before + 1
    pair.exchange()
    assert pair.client.heard == b"x" * size


def test_nothing_to_write_is_nothing_on_the_wire(credentials: Credentials) -> None:
    pair = connected(credentials)
    before = pair.raw.writes
    pair.stream.write(b"")
    pair.stream.writeSequence([])
    assert pair.raw.writes == before


def test_only_bytes_are_written(credentials: Credentials) -> None:
    pair = connected(credentials)
    with pytest.raises(TypeError, match="expected bytes to write, found str"):
        pair.stream.write("text")  # type: ignore[arg-type]
    pair.stream.writeSequence([b"by", b"tes"])
    pair.exchange()
    assert pair.client.heard == b"bytes"


def test_the_protocol_can_be_changed_between_reads(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.say(b"for the first")
    pair.stream.protocol = other = Recorder()
    pair.say(b"for the second")
    assert (pair.protocol.data, other.data) == (b"for the first", b"for the second")


# Pauses.


def test_a_paused_protocol_gets_nothing_until_it_resumes(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.pauseProducing()
    assert not pair.raw.reading
    for data in (b"late ", b"but ", b"in order"):  # a transport may not be able to stop at once
        pair.stream.dataReceived(pair.client.encrypt(data))
    assert not pair.protocol.reads
    pair.stream.resumeProducing()
    assert pair.protocol.data == b"late but in order"
    assert pair.raw.reading


def test_pausing_and_resuming_while_data_is_delivered_does_not_nest(credentials: Credentials) -> None:
    class Careful(Recorder):
        depth = 0

        def dataReceived(self, data: bytes) -> None:
            transport: Any = self.transport
            assert not self.depth
            self.depth += 1
            super().dataReceived(data)
            transport.pauseProducing()
            transport.resumeProducing()
            self.depth -= 1

    pair = connected(credentials, Careful())
    pair.stream.pauseProducing()
    for number in range(500):
        pair.stream.dataReceived(pair.client.encrypt(b"%d " % number))
    pair.stream.resumeProducing()
    assert pair.protocol.data == b"".join(b"%d " % number for number in range(500))


def test_a_protocol_that_pauses_again_keeps_the_rest_waiting(credentials: Credentials) -> None:
    class OneByOne(Recorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.pauseProducing()  # type: ignore[union-attr]

    pair = connected(credentials, OneByOne())
    pair.say(b"one")
    pair.stream.dataReceived(pair.client.encrypt(b"two"))
    pair.stream.dataReceived(pair.client.encrypt(b"three"))
    assert pair.protocol.reads == [b"one"]
    pair.stream.resumeProducing()
    assert pair.protocol.reads == [b"one", b"two"]
    assert not pair.raw.reading


class Pump:
    """Producer that counts its calls."""

    def __init__(self, transport: Any, left: int = 0) -> None:
        self.transport = transport
        self.left = left
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        if self.left:
            self.left -= 1
            self.transport.write(b"x" * 1000)
            if not self.left:
                self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_a_producer_is_paused_while_the_peer_takes_nothing(credentials: Credentials) -> None:
    pair = connected(credentials)
    pump = Pump(pair.stream)
    pair.stream.registerProducer(pump, True)
    pair.raw.stuck = True
    pair.stream.write(b"x" * HIGH_WATER)
    assert pump.calls == ["pause"]
    pair.raw.stuck = False
    pair.exchange()
    assert pump.calls == ["pause", "resume"]
    assert pair.client.heard == b"x" * HIGH_WATER


def test_a_pull_producer_is_asked_until_it_has_no_more(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.registerProducer(Pump(pair.stream, left=5), False)
    pair.stream.loseConnection()
    pair.exchange()
    assert pair.client.heard == b"x" * 5000
    assert pair.client.told_to_close


def test_there_is_one_producer_at_a_time(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.registerProducer(Pump(pair.stream), True)
    with pytest.raises(RuntimeError, match="never unregistered"):
        pair.stream.registerProducer(Pump(pair.stream), True)
    pair.stream.unregisterProducer()
    pair.stream.unregisterProducer()
    pair.stream.registerProducer(Pump(pair.stream), True)


def test_a_producer_that_comes_too_late_is_stopped(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.loseConnection()
    pump = Pump(pair.stream)
    pair.stream.registerProducer(pump, True)
    assert pump.calls == ["stop"]


# Our end.


def test_closing_ends_our_side_and_waits_for_the_peer(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.write(b"goodbye")
    pair.stream.loseConnection()
    pair.exchange()
    assert pair.client.heard == b"goodbye"
    assert pair.client.told_to_close
    assert pair.raw.half_closed
    assert not pair.protocol.ends
    pair.to_server(pair.client.close_notify())
    pair.exchange()
    assert pair.protocol.ends == ["ConnectionDone"]


def test_the_end_of_the_tcp_stream_is_answer_enough(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.loseConnection()
    pair.exchange()
    pair.raw.end_of_file()
    pair.exchange()
    assert pair.protocol.ends == ["ConnectionDone"]


def test_after_closing_the_peer_is_heard_no_more_and_told_nothing_more(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.pauseProducing()
    pair.stream.dataReceived(pair.client.encrypt(b"not wanted"))
    pair.stream.loseConnection()
    pair.stream.loseConnection()
    pair.stream.write(b"too late")
    assert pair.raw.reading, "the peer's end is waited for"
    for _ in range(10):
        pair.to_server(pair.client.encrypt(b"x" * 100_000))
    pair.exchange()
    assert not pair.protocol.reads
    assert pair.client.heard == b""
    pair.stream.pauseProducing()
    assert pair.raw.reading


def test_closing_waits_for_a_producer_that_has_more_to_write(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.registerProducer(Pump(pair.stream), False)
    pair.stream.loseConnection()
    assert pair.stream.disconnecting
    pair.stream.write(b"the last")
    pair.exchange()
    assert not pair.client.told_to_close
    pair.stream.unregisterProducer()
    pair.exchange()
    assert pair.client.heard == b"the last"
    assert pair.client.told_to_close


def test_closing_does_not_wait_for_a_producer_that_only_wants_to_be_paused(credentials: Credentials) -> None:
    """A chat's producer, for example, has nothing to write by itself, and never ends; TCP does not wait
    either."""
    pair = connected(credentials)
    pump = Pump(pair.stream)
    pair.stream.registerProducer(pump, True)
    pair.stream.write(b"the last")
    pair.to_server(pair.client.close_notify())
    pair.exchange()
    assert pair.client.heard == b"the last"
    assert pair.client.told_to_close
    assert pump.calls == ["stop"]
    assert pair.protocol.ends == ["ConnectionDone"]


def test_a_protocol_may_close_while_it_is_made(credentials: Credentials) -> None:
    class Banner(Recorder):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.write(b"full")
            self.transport.loseConnection()

    pair = connected(credentials, Banner())
    assert pair.client.heard == b"full"
    assert pair.client.told_to_close
    pair.raw.end_of_file()
    pair.exchange()
    assert pair.protocol.ends == ["ConnectionDone"]


def test_our_side_can_end_alone(credentials: Credentials) -> None:
    pair = connected(credentials, HalfCloser())
    pair.stream.write(b"all")
    pair.stream.loseWriteConnection()
    pair.stream.loseWriteConnection()
    pair.stream.write(b"too late")
    pair.exchange()
    assert pair.client.heard == b"all"
    assert pair.client.told_to_close
    assert pair.protocol.ends == ["write"]
    pair.say(b"still here")
    assert pair.protocol.data == b"still here"
    pair.to_server(pair.client.close_notify())
    assert pair.protocol.ends == ["write", "read"]
    pair.stream.loseConnection()
    pair.exchange()
    assert pair.protocol.ends == ["write", "read", "ConnectionDone"]


def test_our_side_ends_when_its_producer_has_written_its_last(credentials: Credentials) -> None:
    pair = connected(credentials, HalfCloser())
    pair.stream.registerProducer(Pump(pair.stream), False)
    pair.stream.loseWriteConnection()
    pair.stream.write(b"the last")
    pair.stream.unregisterProducer()
    pair.exchange()
    assert pair.client.heard == b"the last"
    assert pair.client.told_to_close
    assert pair.protocol.ends == ["write"]


# The peer's end.


def test_a_peer_that_says_goodbye_is_answered(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.to_server(pair.client.encrypt(b"all") + pair.client.close_notify())
    assert pair.protocol.data == b"all"
    pair.exchange()
    assert pair.client.told_to_close
    assert pair.protocol.ends == ["ConnectionDone"]


def test_a_protocol_that_wants_to_goes_on_after_the_peers_end(credentials: Credentials) -> None:
    pair = connected(credentials, HalfCloser())
    pair.to_server(pair.client.encrypt(b"question") + pair.client.close_notify() + b"ignored")
    pair.raw.end_of_file()
    pair.exchange()
    assert pair.protocol.ends == ["read"]
    pair.stream.resumeProducing()
    pair.stream.write(b"answer")
    pair.stream.stopProducing()
    pair.exchange()
    assert pair.client.heard == b"answer"
    assert pair.client.told_to_close
    assert pair.protocol.ends == ["read", "ConnectionDone"]


def test_a_paused_protocol_hears_of_the_end_when_it_resumes(credentials: Credentials) -> None:
    pair = connected(credentials, HalfCloser())
    pair.stream.pauseProducing()
    pair.stream.dataReceived(pair.client.encrypt(b"all") + pair.client.close_notify())
    assert not pair.protocol.ends
    pair.stream.resumeProducing()
    assert pair.protocol.data == b"all"
    assert pair.protocol.ends == ["read"]


def test_a_stream_that_is_cut_off_is_not_done(credentials: Credentials) -> None:
    pair = connected(credentials, HalfCloser())
    pair.say(b"half of it")
    pair.raw.end_of_file()
    pair.exchange()
    assert pair.protocol.ends == ["ConnectionLost"]


def test_a_cut_is_seen_even_if_the_transport_calls_it_done(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.raw.lose(ConnectionDone())
    assert pair.protocol.ends == ["ConnectionLost"]


def test_a_cut_while_a_producer_ends_what_was_closed_is_no_loss(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.registerProducer(Pump(pair.stream), False)
    pair.stream.loseConnection()
    pair.raw.end_of_file()
    pair.stream.write(b"the last")
    pair.exchange()
    assert not pair.protocol.ends
    pair.stream.unregisterProducer()
    pair.exchange()
    assert pair.client.heard == b"the last"
    assert pair.protocol.ends == ["ConnectionDone"]


def test_input_after_our_end_cannot_spoil_it(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.loseConnection()
    pair.exchange()
    pair.to_server(b"\x17\x03\x03\x00\x20" + bytes(32))
    pair.exchange()
    assert pair.protocol.ends == ["ConnectionDone"]


def test_nothing_waits_for_a_peer_that_cuts_off_and_takes_nothing(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.raw.stuck = True
    pair.stream.write(b"x" * 1000)
    pair.raw.turn()
    pair.raw.end_of_file()
    pair.raw.turn()
    assert pair.protocol.ends == ["ConnectionLost"]
    assert pair.raw.aborted


def test_a_cut_is_seen_in_the_order_in_which_it_came(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.stream.pauseProducing()
    pair.stream.dataReceived(pair.client.encrypt(b"half of it"))
    pair.raw.end_of_file()
    pair.exchange()
    assert not pair.protocol.ends
    pair.stream.resumeProducing()
    pair.exchange()
    assert pair.protocol.data == b"half of it"
    assert pair.protocol.ends == ["ConnectionLost"]


def test_ciphertext_that_was_changed_ends_the_connection(credentials: Credentials) -> None:
    pair = connected(credentials)
    sound, changed = pair.client.encrypt(b"sound"), bytearray(pair.client.encrypt(b"changed"))
    changed[-1] ^= 1
    pump = Pump(pair.stream)
    pair.stream.registerProducer(pump, True)
    pair.to_server(sound + bytes(changed) + pair.client.encrypt(b"never seen"))
    pair.exchange()
    assert pair.protocol.data == b"sound"
    assert pair.protocol.ends == ["ConnectionLost"]
    assert "bad record mac" in pair.client.error
    assert pump.calls == ["stop"]


def test_a_reset_is_passed_on(credentials: Credentials) -> None:
    pair = connected(credentials)
    pair.raw.lose(ConnectionLost())
    assert pair.protocol.ends == ["ConnectionLost"]
    pair.stream.write(b"to nobody")
    pair.stream.loseConnection()


def test_a_message_about_the_session_that_is_never_finished_cannot_hold_up_writing(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL then refuses to write before it has read the rest."""
    pair = connected(credentials)

    def refuse(_: object) -> int:
        raise SSL.WantReadError

    monkeypatch.setattr(pair.stream.getHandle(), "sendall", refuse)
    pair.stream.write(b"x")
    pair.exchange()
    assert pair.protocol.ends == ["ConnectionLost"]


# Aborting.


def closing(pair: Pair) -> None:
    pair.stream.loseConnection()


def half_closed(pair: Pair) -> None:
    pair.stream.loseWriteConnection()
    pair.exchange()


def paused(pair: Pair) -> None:
    pair.stream.pauseProducing()
    pair.stream.dataReceived(pair.client.encrypt(b"waiting"))


def stuck(pair: Pair) -> None:
    pair.raw.stuck = True
    pair.stream.write(b"x" * 100_000)


def ended_by_peer(pair: Pair) -> None:
    pair.to_server(pair.client.close_notify())


def as_it_is(pair: Pair) -> None:
    pass


@pytest.mark.parametrize("state", [as_it_is, closing, half_closed, paused, stuck, ended_by_peer])
@pytest.mark.parametrize("protocol", [Recorder, HalfCloser])
def test_a_stream_can_be_aborted_at_any_time(
    credentials: Credentials, state: Callable[[Pair], None], protocol: type[Protocol]
) -> None:
    pair = connected(credentials, protocol())
    state(pair)
    pair.stream.abortConnection()
    pair.stream.dataReceived(b"whatever still comes")
    pair.stream.resumeProducing()
    pair.stream.write(b"x")
    pair.stream.abortConnection()
    pair.exchange()
    assert pair.protocol.ends[-1] == ConnectionAborted.__name__
    assert len([end for end in pair.protocol.ends if end.startswith("Connection")]) == 1
    assert not pair.protocol.reads
    assert not pair.failures


# Bounds.


def test_openssl_s_memory_of_a_connection_does_not_grow_with_the_data(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffers never shrink, so only one record at a time may be put into them."""
    pair = connected(credentials)
    handle = pair.stream.getHandle()
    fed: list[int] = []
    feed = handle.bio_write

    def counted(data: Any) -> int:
        fed.append(len(data))
        return feed(data)

    monkeypatch.setattr(handle, "bio_write", counted)
    pair.say(b"x" * 1_000_000)
    assert pair.protocol.data == b"x" * 1_000_000
    assert max(fed) <= RECORD + 256


def test_a_transport_pauses_its_producer_in_the_tests_as_in_life() -> None:
    """The fake stands for Twisted's own transports in what the tests above rely on."""
    raw = Raw()
    pump = Pump(raw)
    raw.registerProducer(pump, True)
    raw.stuck = True
    raw.write(b"x" * (HIGH_WATER + 1))
    raw.stuck = False
    raw.turn()
    raw.turn()
    assert pump.calls == ["pause", "resume"]
