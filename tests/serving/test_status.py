"""What a server tells about itself, while it goes on serving."""

from __future__ import annotations

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockd.broker.memory import MemoryBroker
from sockd.serving.server import Server
from sockd.serving.status import PIECE, moved, peers, snapshot
from sockd.stream.handshakes import Handshakes
from sockd.telemetry.events import ServiceEvents


class Peer:
    """A connection that has received and sent something, and tells when it is asked."""

    id, started, state = 1, 0.0, "open"

    def __init__(self, asked: list[Peer]) -> None:
        self._asked = asked

    def bytes_moved(self) -> tuple[int, int]:
        self._asked.append(self)
        return 10, 20

    def quiet_for(self) -> float:
        return 0.0

    def getPeer(self) -> str:
        return "/peer"

    def getHost(self) -> str:
        return "/host"


class Peers(set[Peer]):
    """Those of a service."""

    handshakes = Handshakes(Clock(), None)
    context = SimpleNamespace(seconds=float)


class Reactor(Clock):
    """One whose turns can be told apart."""

    def turn(self) -> None:
        """Make the calls that are due, but none that they add."""
        calls, self.calls = self.calls, []
        for call in calls:
            call.called = 1
            call.func(*call.args, **call.kw)


class Busy:
    """Services with so many connections each."""

    def __init__(self, *numbers: int) -> None:
        self.reactor = Reactor()
        self.asked: list[Peer] = []
        self.services = [self._service(f"s{index}", number) for index, number in enumerate(numbers)]
        self.server = cast("Server", SimpleNamespace(
            reactor=self.reactor, services=self.services, all_services=self.services,
            started=0.0, state="ready", descriptors=SimpleNamespace(most=1),
            broker=MemoryBroker("me"),
        ))  # fmt: skip

    def _service(self, name: str, number: int) -> Any:
        limits = SimpleNamespace(model_dump=lambda **_: {})
        return SimpleNamespace(
            name=name, state="open", listeners=[], events=ServiceEvents(name, self.reactor.seconds),
            config=SimpleNamespace(plugin="echo", limits=limits, options=None),
            connections=Peers(Peer(self.asked) for _ in range(number)),
        )  # fmt: skip

    def turns(self, asking: Coroutine[Any, Any, Any]) -> tuple[list[int], Any]:
        """How many connections are asked in each turn of the reactor until it is done, and the result."""
        done: list[Any] = []
        asked: list[int] = []
        Deferred.fromCoroutine(asking).addCallback(done.append)
        asked.append(len(self.asked))
        while not done:
            before = len(self.asked)
            self.reactor.turn()
            asked.append(len(self.asked) - before)
        return asked, done[0]


def test_no_turn_of_the_reactor_asks_more_than_a_piece_however_many_there_are() -> None:
    """So the daemon serves its peers while it tells of ten thousand of them."""
    for what in (moved, peers):
        busy = Busy(2 * PIECE + 1, 7)
        asked, result = busy.turns(what(busy.server))
        assert asked == [PIECE, PIECE, 1, 7]
        assert len(result) == 2 * PIECE + 8


def test_few_connections_are_asked_at_once() -> None:
    busy = Busy(PIECE)
    assert busy.turns(moved(busy.server))[0] == [PIECE]


def test_the_bytes_of_a_connection_that_ends_meanwhile_are_counted_once() -> None:
    """Or a counter would go back, which Prometheus takes for a new start."""
    busy = Busy(PIECE, 1)
    [service, other] = busy.services
    results: list[Any] = []
    Deferred.fromCoroutine(moved(busy.server)).addCallback(results.append)
    assert len(busy.asked) == PIECE
    for each, ended in ((service, busy.asked[0]), (other, next(iter(other.connections)))):
        each.connections.remove(ended)
        each.events.closed("/peer", 1, "peer closed", 1.0, 10, 20)
    service.connections.add(Peer(busy.asked))
    busy.reactor.turn()
    told = snapshot(busy.server, results[0])["services"]
    assert [(each["received"], each["sent"]) for each in told] == [
        (10 * (PIECE + 1), 20 * (PIECE + 1)),
        (10, 20),
    ]


def test_a_connection_that_ends_meanwhile_is_not_listed() -> None:
    busy = Busy(PIECE, 1)
    rows: list[Any] = []
    Deferred.fromCoroutine(peers(busy.server)).addCallback(rows.append)
    busy.services[1].connections.clear()
    busy.reactor.turn()
    assert len(rows[0]) == PIECE
