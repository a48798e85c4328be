from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.datagram import batch
from sockd.datagram.batch import MOST_WAITING, BatchWire
from sockd.datagram.wire import BATCH
from sockd.telemetry.events import ServiceEvents

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Ends:
    """Wire, and as many peers as are needed."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self._stack = ExitStack()
        self._family = family
        self.socket = self._open()
        self.events = ServiceEvents("test", lambda: 0.0)
        self.wire = BatchWire(self.socket, self.events)

    def _open(self) -> socket.socket:
        opened = self._stack.enter_context(socket.socket(self._family, socket.SOCK_DGRAM))
        opened.bind((LOOPBACK[self._family], 0))
        opened.setblocking(False)
        return opened

    def peer(self) -> socket.socket:
        opened = self._open()
        opened.connect(self.socket.getsockname())
        return opened

    def close(self) -> None:
        self._stack.close()

    def dropped(self, reason: str) -> int:
        return self.events.counts["datagram dropped", reason]


@pytest.fixture(params=LOOPBACK, ids=["udp4", "udp6"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made = Ends(request.param)
    yield made
    made.close()


def test_each_datagram_comes_whole_from_its_peer_and_is_answered_to_it(ends: Ends) -> None:
    """The longest and the empty ones too."""
    peers = [ends.peer() for _ in range(12)]
    sizes = [0, 1, 255, 1472, 9000, 65_507, 2, 0, 65_506, 64, 7, 1]
    for number, (peer, size) in enumerate(zip(peers, sizes, strict=True)):
        peer.send(bytes([number]) * size)
    for (datagram, address, name), peer, size in zip(ends.wire.receive(), peers, sizes, strict=True):
        assert address == peer.getsockname()[:2]
        assert len(datagram) == size
        ends.wire.send(datagram, name)
    ends.wire.flush()
    for number, (peer, size) in enumerate(zip(peers, sizes, strict=True)):
        assert peer.recv(65_536) == bytes([number]) * size
    assert (ends.events.datagrams_sent, ends.events.sent) == (12, sum(sizes))
    assert ends.wire.arrived == 12


def test_a_turn_takes_a_batch_and_the_next_one_goes_on(ends: Ends) -> None:
    peer = ends.peer()
    for number in range(BATCH + 5):
        peer.send(b"%d" % number)
    turns = [[int(datagram) for datagram, _, _ in ends.wire.receive()] for _ in range(3)]
    assert turns == [[*range(BATCH)], [*range(BATCH, BATCH + 5)], []]
    assert ends.wire.arrived == 0
    assert not ends.events.counts


def test_replies_go_when_enough_of_them_wait_and_never_more_wait(ends: Ends) -> None:
    peer = ends.peer()
    name = ends.wire.destination(peer.getsockname())
    for number in range(MOST_WAITING - 1):
        ends.wire.send(b"%d" % number, name)
    with pytest.raises(BlockingIOError):
        peer.recv(10)
    ends.wire.send(b"last", name)
    assert [peer.recv(10) for _ in range(MOST_WAITING)][-2:] == [b"%d" % (MOST_WAITING - 2), b"last"]


def test_a_reply_that_cannot_be_sent_is_counted_and_those_around_it_go(ends: Ends) -> None:
    peer = ends.peer()
    name = ends.wire.destination(peer.getsockname())
    for datagram in (b"before", b"x" * 65_536, b"between", b"x" * 70_000, b"after"):
        ends.wire.send(datagram, name)
    ends.wire.flush()
    assert [peer.recv(100) for _ in range(3)] == [b"before", b"between", b"after"]
    assert ends.dropped("EMSGSIZE") == 2
    assert (ends.events.datagrams_sent, ends.events.sent) == (3, len("beforebetweenafter"))


@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))])
def test_a_reply_goes_as_it_was_whatever_becomes_of_it_while_it_waits(
    ends: Ends, kind: Callable[[bytes], bytearray]
) -> None:
    peer = ends.peer()
    reply = kind(b"good")
    ends.wire.send(reply, ends.wire.destination(peer.getsockname()))  # type: ignore[arg-type]  # what plugins do
    reply[:] = b"evil"
    ends.wire.flush()
    assert peer.recv(10) == b"good"


def test_no_text_goes_as_a_datagram(ends: Ends) -> None:
    with pytest.raises(TypeError):
        ends.wire.send("text", b"")  # type: ignore[arg-type]  # what plugins do
    ends.wire.flush()
    assert not ends.events.counts


def test_a_closed_socket_sends_and_receives_nothing_with_another_s_descriptor(ends: Ends) -> None:
    peer = ends.peer()
    name = ends.wire.destination(peer.getsockname())
    number = ends.socket.fileno()
    ends.socket.close()
    with socket.socket(peer.family, socket.SOCK_DGRAM) as other:
        assert other.fileno() == number
        ends.wire.send(b"stray", name)
        ends.wire.flush()
        assert not list(ends.wire.receive())
    assert ends.dropped("EBADF") == 2
    with pytest.raises(BlockingIOError):
        peer.recv(10)


def test_more_peers_than_are_remembered_are_told_apart(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_KNOWN", 3)
    peers = [ends.peer() for _ in range(8)]
    for _ in range(2):
        for peer in peers:
            peer.send(b"?")
        heard = [address for _, address, _ in ends.wire.receive()]
        assert heard == [peer.getsockname()[:2] for peer in peers]


@given(
    st.sampled_from(list(LOOPBACK)),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 65_535),
    st.integers(0, 99),
)
def test_an_address_leads_back_to_the_name_that_it_was_read_from(
    family: socket.AddressFamily, host: bytes, port: int, zone: int
) -> None:
    """A link-local peer is answered on its own interface (RFC 4007), which its address tells."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        wire = BatchWire(sock, ServiceEvents("test", lambda: 0.0))
        if family == socket.AF_INET:
            name = batch._IPV4.pack(family, port.to_bytes(2), host[:4])
        else:
            name = batch._IPV6.pack(family, port.to_bytes(2), host, zone)
        address = wire._learn(name)
        assert address[1] == port
        assert ("%" in address[0]) == bool(zone and family == socket.AF_INET6)
        assert wire.destination(address) == name
