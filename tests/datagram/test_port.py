from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock

from sockd.config import SocketOptions
from sockd.datagram import DatagramPort, Loops
from sockd.datagram.loops import FIRST_BUDGET, PLAIN, WATCHED
from sockd.datagram.port import BUSY
from sockd.datagram.single import ALONE
from sockd.datagram.wire import BATCH
from sockd.endpoint import parse
from sockd.limits import Admission, Terms
from sockd.plugin import Replies
from sockd.sockets.open import BoundSocket, open_socket
from sockd.telemetry.events import ServiceEvents


class Reactor(Clock):
    """Clock that records what would be watched; the tests call `doRead` themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)


class Recorder(DatagramProtocol):
    """Protocol that answers each datagram with what `answer` makes of it."""

    def __init__(self, *answers: bytes) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self._answers = answers

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.received.append((datagram, addr))
        for answer in self._answers:
            self.transport.write(answer, addr)  # type: ignore[union-attr]  # it is set while serving


class Bench:
    """Real port on loopback with a client of its own."""

    def __init__(self, bound: BoundSocket, kind: type[DatagramPort] = DatagramPort) -> None:
        self.bound = bound
        self.kind = kind
        self.reactor = Reactor()
        self.events = ServiceEvents("test", self.reactor.seconds)
        self.loops = Loops(self.reactor.seconds)
        self.terms = Terms(1)
        self.client = socket.socket(bound.socket.family, socket.SOCK_DGRAM)
        if bound.socket.family == socket.AF_UNIX:
            self.client.bind("")
        else:
            self.client.bind(("127.0.0.1", 0))
        self.client.connect(bound.socket.getsockname())
        self.client.settimeout(5)

    def serve(self, protocol: DatagramProtocol, replies: Replies | None = None) -> DatagramPort:
        port = self.kind(
            self.bound,
            protocol,
            replies or Replies(),
            Admission(self.terms, self.reactor.seconds),
            self.loops,
            self.events,
            self.reactor,
        )
        port.startListening()
        return port

    def nothing_arrives(self) -> bool:
        self.client.setblocking(False)
        try:
            self.client.recv(1)
        except BlockingIOError:
            return True
        return False

    def dropped(self, reason: str) -> int:
        return self.events.counts["datagram dropped", reason]


class BusyPort(DatagramPort):
    """Port that reads a batch in each turn, as if many datagrams had come in the one before."""

    def doRead(self) -> None:
        self._arrived = BUSY
        super().doRead()


@pytest.fixture(params=[DatagramPort, BusyPort], ids=["quiet", "busy"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bound = open_socket(parse("udp:0:interface=127.0.0.1"), SocketOptions())
    made = Bench(bound, request.param)
    yield made
    made.client.close()
    bound.close()


@pytest.fixture
def unix_bench(tmp_path: Path) -> Iterator[Bench]:
    bound = open_socket(parse(f"unixgram:{tmp_path}/d.sock"), SocketOptions())
    made = Bench(bound)
    yield made
    made.client.close()
    bound.close()


def test_a_datagram_is_delivered_whole_and_answered(bench: Bench) -> None:
    protocol = Recorder(b"pong")
    port = bench.serve(protocol)
    bench.client.send(b"ping")
    port.doRead()
    assert protocol.received == [(b"ping", bench.client.getsockname())]
    assert bench.client.recv(100) == b"pong"


def test_datagrams_are_counted_with_their_bytes_when_they_are_delivered_and_when_they_are_sent(
    bench: Bench,
) -> None:
    port = bench.serve(Recorder(b"pong", b"far too much for what was asked"))
    bench.client.send(b"ping!")
    port.doRead()
    events = bench.events
    assert (events.datagrams_received, events.received) == (1, 5)
    assert (events.datagrams_sent, events.sent) == (1, 4)
    assert bench.dropped("reply too large") == 1


def test_the_largest_udp_datagram_is_not_cut(bench: Bench) -> None:
    protocol = Recorder()
    port = bench.serve(protocol)
    bench.client.send(b"x" * 65_507)
    port.doRead()
    assert [len(datagram) for datagram, _ in protocol.received] == [65_507]


def test_a_unix_datagram_longer_than_any_buffer_is_dropped_whole(
    unix_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockd.datagram.local.MAX_UNIX", 1000)
    protocol = Recorder()
    port = unix_bench.serve(protocol)
    unix_bench.client.send(b"x" * 1001)
    unix_bench.client.send(b"y" * 1000)
    port.doRead()
    assert [datagram for datagram, _ in protocol.received] == [b"y" * 1000]
    assert unix_bench.dropped("too large") == 1


def test_a_flood_of_empty_datagrams_takes_one_batch_a_turn(bench: Bench) -> None:
    """The bound counts datagrams, not bytes."""
    protocol = Recorder()
    port = bench.serve(protocol)
    for _ in range(BATCH + 10):
        bench.client.send(b"")
    port.doRead()
    assert len(protocol.received) == BATCH
    port.doRead()
    assert len(protocol.received) == BATCH + 10


def test_an_exception_costs_one_datagram_and_the_port_lives(bench: Bench) -> None:
    class Broken(Recorder):
        def datagramReceived(self, datagram: bytes, addr: Any) -> None:
            super().datagramReceived(datagram, addr)
            if datagram == b"bad":
                raise ValueError("a plugin's mistake")

    protocol = Broken()
    port = bench.serve(protocol)
    for datagram in (b"bad", b"good", b"bad", b"fine"):
        bench.client.send(datagram)
    port.doRead()
    assert [datagram for datagram, _ in protocol.received] == [b"bad", b"good", b"bad", b"fine"]
    assert sum(n for (event, _), n in bench.events.counts.items() if event == "plugin fault") == 2
    assert port in bench.reactor.readers


def test_a_source_port_below_1024_is_neither_delivered_nor_answered(bench: Bench) -> None:
    """The other end may be a service that answers by itself."""
    protocol = Recorder(b"answer")
    port = bench.serve(protocol)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as privileged:
        try:
            privileged.bind(("127.0.0.1", 1023))
        except PermissionError:
            pytest.skip("only root may send from a privileged port")
        privileged.sendto(b"loop", bench.bound.socket.getsockname())
        port.doRead()
    assert protocol.received == []
    assert bench.dropped("privileged port") == 1


def test_our_own_ports_are_never_answered_so_two_services_cannot_loop(bench: Bench) -> None:
    """A forged source may point at another echo."""
    protocol = Recorder(b"answer")
    port = bench.serve(protocol)
    bench.loops.know_own([bench.client.getsockname()[1]])
    bench.client.send(b"loop")
    port.doRead()
    assert protocol.received == []
    assert bench.dropped("own port") == 1


def test_a_reply_is_no_larger_than_its_request(bench: Bench) -> None:
    port = bench.serve(Recorder(b"12345", b"12345"))
    bench.client.send(b"123456789")
    port.doRead()
    assert bench.client.recv(100) == b"12345"
    assert bench.nothing_arrives()
    assert bench.dropped("reply too large") == 1


def test_the_floor_allows_a_short_answer_to_an_empty_datagram(bench: Bench) -> None:
    port = bench.serve(Recorder(b"2026-11-20"), Replies(floor=10))
    bench.client.send(b"")
    port.doRead()
    assert bench.client.recv(100) == b"2026-11-20"


def test_an_answer_may_come_later_but_only_once_and_only_to_a_peer_that_asked(bench: Bench) -> None:
    protocol = Recorder()
    port = bench.serve(protocol)
    bench.client.send(b"question")
    port.doRead()
    asker = bench.client.getsockname()
    port.write(b"answer", asker)
    assert bench.client.recv(100) == b"answer"
    port.write(b"again", asker)
    port.write(b"unasked", ("127.0.0.1", 9))
    assert bench.nothing_arrives()
    assert bench.dropped("reply not owed") == 2


def test_a_service_that_writes_unasked_is_held_to_what_its_peers_sent(bench: Bench) -> None:
    protocol = Recorder()
    port = bench.serve(protocol, Replies(factor=2.0, floor=10, unasked=True))
    bench.client.send(b"hi")
    port.doRead()
    peer = bench.client.getsockname()
    for _ in range(3):
        port.write(b"12345", peer)
    assert [bench.client.recv(100) for _ in range(2)] == [b"12345"] * 2
    assert bench.nothing_arrives()


def test_what_an_answer_has_left_of_its_allowance_pays_for_an_unasked_and_for_a_larger_one(
    bench: Bench,
) -> None:
    port = bench.serve(Recorder(b"12345", b"67890"), Replies(unasked=True))
    bench.client.send(b"8 bytes.")
    port.doRead()
    assert bench.client.recv(100) == b"12345"
    assert bench.nothing_arrives()
    bench.client.send(b"8 bytes.")
    port.doRead()
    assert [bench.client.recv(100) for _ in range(2)] == [b"12345", b"67890"]
    peer = bench.client.getsockname()
    port.write(b"1", peer)  # 16 bytes came, and 15 went back
    port.write(b"2", peer)
    assert bench.client.recv(100) == b"1"
    assert bench.nothing_arrives()
    assert bench.dropped("reply not owed") == 2


def test_a_peer_without_an_address_is_not_answered(unix_bench: Bench) -> None:
    protocol = Recorder(b"x")
    port = unix_bench.serve(protocol)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.sendto(b"x", unix_bench.bound.socket.getsockname())
    port.doRead()
    assert protocol.received == [(b"x", None)]
    assert unix_bench.dropped("no return address") == 1


def test_a_reply_to_a_peer_that_has_gone_is_counted_and_the_port_lives(
    unix_bench: Bench, tmp_path: Path
) -> None:
    protocol = Recorder(b"x")
    port = unix_bench.serve(protocol)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
        gone.bind(str(tmp_path / "gone.sock"))
        gone.sendto(b"x", unix_bench.bound.socket.getsockname())
    port.doRead()
    assert unix_bench.dropped("ECONNREFUSED") == 1
    unix_bench.client.send(b"x")
    port.doRead()
    assert unix_bench.client.recv(10) == b"x"


@pytest.mark.parametrize("callback", ["startProtocol", "stopProtocol"])
def test_an_exception_at_the_begin_or_end_does_not_keep_the_port_from_its_work(
    bench: Bench, callback: str
) -> None:
    protocol: Any = Recorder(b"pong")
    setattr(protocol, callback, lambda: 1 / 0)
    port = bench.serve(protocol)
    bench.client.send(b"ping")
    port.doRead()
    assert bench.client.recv(100) == b"pong"
    port.stopListening()
    assert sum(n for (event, _), n in bench.events.counts.items() if event == "plugin fault") == 1
    assert port not in bench.reactor.readers


def test_the_port_tells_its_address_as_twisted_does(bench: Bench, unix_bench: Bench) -> None:
    host, number = bench.bound.socket.getsockname()
    assert bench.serve(Recorder()).getHost() == IPv4Address("UDP", host, number)
    unix = unix_bench.serve(Recorder())
    assert unix.getHost() == UNIXAddress(unix_bench.bound.socket.getsockname())
    assert unix.getHandle() is unix_bench.bound.socket


def test_a_port_for_many_peers_cannot_be_connected_to_one(bench: Bench) -> None:
    with pytest.raises(RuntimeError):
        bench.serve(Recorder()).connect("127.0.0.1", 7)


def test_replies_in_pieces_go_as_one_and_broadcasts_can_be_allowed(bench: Bench) -> None:
    class Pieces(Recorder):
        def datagramReceived(self, datagram: bytes, addr: Any) -> None:
            assert self.transport is not None
            self.transport.writeSequence([b"a", b"b"], addr)  # type: ignore[attr-defined]  # not in IUDPTransport

    port = bench.serve(Pieces())
    port.setBroadcastAllowed(True)
    assert port.getBroadcastAllowed()
    bench.client.send(b"xx")
    port.doRead()
    assert bench.client.recv(100) == b"ab"


def test_an_error_that_the_kernel_reports_while_reading_is_counted_and_the_port_lives(bench: Bench) -> None:
    """The kernel reports an earlier answer as undeliverable; IP_RECVERR enables that (ip(7))."""
    protocol = Recorder()
    port = bench.serve(protocol)
    bench.bound.socket.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()
    bench.bound.socket.sendto(b"x", nobody)
    bench.client.send(b"alive")
    port.doRead()
    port.doRead()  # the error is all that is read of a batch
    assert bench.dropped("ECONNREFUSED") == 1
    assert [datagram for datagram, _ in protocol.received] == [b"alive"]


def test_a_loop_with_a_service_is_broken(bench: Bench) -> None:
    """A peer that sends back each answer from such a port may be another service."""
    bench.loops.kinds[bench.client.getsockname()[1]] = WATCHED

    class Echo(Recorder):
        def datagramReceived(self, datagram: bytes, addr: Any) -> None:
            super().datagramReceived(datagram, addr)
            assert self.transport is not None
            self.transport.write(datagram, addr)

    port = bench.serve(Echo())
    bench.client.send(b"x")
    for _ in range(int(FIRST_BUDGET)):
        port.doRead()
        bench.client.send(bench.client.recv(100))
    port.doRead()
    assert bench.nothing_arrives()
    assert bench.dropped("loop") == 1


@pytest.mark.parametrize("unasked", [False, True])
def test_a_loop_whose_answers_come_later_is_broken_too(bench: Bench, unasked: bool) -> None:
    bench.loops.kinds[bench.client.getsockname()[1]] = WATCHED
    port = bench.serve(Recorder(), Replies(unasked=unasked))
    bench.client.send(b"x")
    for _ in range(int(FIRST_BUDGET)):
        port.doRead()
        bench.reactor.advance(1)
        port.write(b"x", bench.client.getsockname())
        bench.client.send(bench.client.recv(100))
    port.doRead()
    port.write(b"x", bench.client.getsockname())
    assert bench.nothing_arrives()
    assert bench.dropped("loop") == 1


def test_a_client_s_port_is_answered_without_end_whatever_it_sends(bench: Bench) -> None:
    bench.loops.kinds[bench.client.getsockname()[1]] = PLAIN
    port = bench.serve(Recorder(b"ping"))
    for _ in range(20 * int(FIRST_BUDGET)):
        bench.client.send(b"ping")
        port.doRead()
        assert bench.client.recv(100) == b"ping"
    assert not bench.events.counts


def test_a_peer_that_waits_for_each_answer_costs_one_read_a_turn_and_a_burst_is_still_read_in_one(
    bench: Bench,
) -> None:
    bench.kind = DatagramPort
    protocol = Recorder(b"pong")
    port = bench.serve(protocol)
    for _ in range(ALONE):
        bench.client.send(b"ping")
        port.doRead()
    for _ in range(2 * ALONE):
        bench.client.send(b"ping")
    turns = 0
    while len(protocol.received) < 3 * ALONE:
        port.doRead()
        turns += 1
    assert turns <= ALONE
    bench.client.send(b"ping")
    bench.client.send(b"ping")
    port.doRead()
    assert len(protocol.received) == 3 * ALONE + 2


def test_a_protocol_says_that_it_needs_no_context_of_the_log(bench: Bench) -> None:
    class Silent(Recorder):
        without_log_context = True

    assert bench.serve(Silent()).without_log_context
    assert not bench.serve(Recorder()).without_log_context
