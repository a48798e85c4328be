"""Wait of a service that ends; connections, ports and time are made up."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockd.serving.drain import Drain


class Peers:
    """Connections of a service."""

    busy = False


class Port:
    """Listener for datagrams, whose protocol may have begun something."""

    def __init__(self, drained: Deferred[None] | None) -> None:
        self.drained = drained
        self.closed = False

    def drain(self) -> Deferred[None] | None:
        return self.drained

    async def close(self) -> None:
        self.closed = True


class Ending:
    """Service with a port that serves peers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.drain = Drain(self.clock)
        self.peers = Peers()
        self.drained: Deferred[None] = Deferred()
        self.port = Port(self.drained)
        self.kept = self.keeps(self.port)

    def keeps(self, port: Port) -> bool:
        return self.drain.keep(cast("Any", port))

    def waits(self, patience: float = 30.0) -> Deferred[None]:
        return Deferred.fromCoroutine(self.drain.wait(cast("Any", self.peers), patience))


@pytest.fixture
def ending() -> Ending:
    return Ending()


def test_a_port_stays_open_until_it_has_served_its_peers(ending: Ending) -> None:
    assert ending.kept
    waiting = ending.waits()
    assert not waiting.called
    assert not ending.port.closed
    ending.drained.callback(None)
    assert waiting.called
    assert ending.port.closed
    assert ending.clock.getDelayedCalls() == []


def test_a_port_that_serves_nobody_is_not_kept(ending: Ending) -> None:
    over: Deferred[None] = Deferred()
    over.callback(None)
    assert not ending.keeps(Port(None))
    assert not ending.keeps(Port(over))


def test_both_the_connections_and_the_ports_are_waited_for(ending: Ending) -> None:
    ending.peers.busy = True
    waiting = ending.waits()
    ending.drained.callback(None)
    assert not waiting.called
    ending.peers.busy = False
    ending.drain.look()
    assert waiting.called


def test_the_wait_has_an_end(ending: Ending) -> None:
    waiting = ending.waits(30)
    ending.clock.advance(30)
    assert waiting.called
    assert ending.port.closed
    ending.drained.callback(None)  # too late, and without effect


@pytest.mark.parametrize("begun", [True, False])
def test_a_hurry_ends_the_wait_also_one_that_has_not_begun(ending: Ending, begun: bool) -> None:
    waiting = ending.waits() if begun else None
    ending.drain.hurry()
    waiting = waiting or ending.waits()
    assert waiting.called
    assert ending.port.closed


def test_a_port_whose_drain_fails_is_waited_for_no_longer(ending: Ending) -> None:
    waiting = ending.waits()
    ending.drained.errback(RuntimeError("a plugin"))
    assert waiting.called
    assert ending.port.closed
