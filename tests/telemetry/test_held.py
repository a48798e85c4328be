"""Bounds on the events that a plugin writes about its peers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from sockd.telemetry.events import ALIKE_PERIOD, ServerEvents, ServiceEvents
from sockd.telemetry.held import (
    ALL_AT_ONCE,
    ALL_EVERY,
    AT_ONCE,
    EVERY,
    MOST_KINDS,
    MOST_SOURCES,
    HeldLogger,
    source_of,
)


class Written:
    """Logger with its clock, its written and its held events."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.held: Counter[str] = Counter()
        self.logger = HeldLogger("sockd.test", self.clock.seconds, lambda name: self.held.update([name]))

    def tell(self, times: int, name: str = "file refused", **fields: Any) -> list[dict[str, Any]]:
        """Log the event so often; return the written events."""
        with capturedLogs() as events:
            for _ in range(times):
                self.logger.info(name, **fields)
        return list(events)


@pytest.fixture
def written() -> Written:
    return Written()


def test_few_events_are_all_written(written: Written) -> None:
    events = written.tell(AT_ONCE, peer="192.0.2.7")
    assert len(events) == AT_ONCE
    assert not any("alike" in event for event in events)
    assert events[0]["log_namespace"] == "sockd.test"


def test_events_about_one_address_are_written_once_a_minute(written: Written) -> None:
    written.tell(AT_ONCE, peer="192.0.2.7")
    for _ in range(10):
        assert not written.tell(1000, peer="192.0.2.7")
        written.clock.advance(EVERY)
        [event] = written.tell(1, peer="192.0.2.7")
        assert event["alike"] == 1000
    assert written.held == {"file refused": 10_000}


def test_other_kinds_and_other_sources_have_bounds_of_their_own(written: Written) -> None:
    written.tell(1000, peer="192.0.2.7")
    assert written.tell(1, peer="192.0.2.8")
    assert written.tell(1, "file received", peer="192.0.2.7")


def test_events_about_many_addresses_are_bounded_together(written: Written) -> None:
    count = sum(len(written.tell(1, peer=f"192.0.{n // 250}.{n % 250}")) for n in range(10 * ALL_AT_ONCE))
    assert count == ALL_AT_ONCE
    written.clock.advance(10 * ALL_EVERY)
    count = sum(len(written.tell(1, peer=f"198.51.{n // 250}.{n % 250}")) for n in range(10 * ALL_AT_ONCE))
    assert count == 10


def test_events_without_a_peer_have_the_bound_over_all_sources(written: Written) -> None:
    assert len(written.tell(1000)) == ALL_AT_ONCE
    written.clock.advance(ALL_EVERY)
    [event] = written.tell(2)
    assert event["alike"] == 1000 - ALL_AT_ONCE


def test_debug_events_are_always_written(written: Written) -> None:
    with capturedLogs() as events:
        for _ in range(1000):
            written.logger.debug("line", peer="192.0.2.7")
    assert len(events) == 1000


def test_failures_are_bounded_too(written: Written) -> None:
    with capturedLogs() as events:
        for _ in range(1000):
            try:
                raise RuntimeError
            except RuntimeError:
                written.logger.failure("plugin fault", peer="192.0.2.7")
    assert len(events) == AT_ONCE
    assert events[0]["log_level"] is LogLevel.critical


def test_kinds_and_sources_that_peers_choose_take_bounded_memory(written: Written) -> None:
    for number in range(2 * MOST_SOURCES):
        written.tell(1, f"named {number}", peer=f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert len(written.logger._sources) <= MOST_SOURCES
    assert len(written.logger._kinds) <= MOST_KINDS + 1
    assert set(written.held) == {"other"}


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        (("192.0.2.7", 4711), "192.0.2.7"),
        (IPv4Address("TCP", "192.0.2.7", 4711), "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("[2001:db8::2]:80", "2001:db8::/64"),
        (IPv6Address("TCP", "2001:db8::3", 80), "2001:db8::/64"),
        (("fe80::1%2", 80, 0, 2), "fe80::/64"),
        (UNIXAddress(b"/run/x"), "b'/run/x'"),
        ("-", "-"),
        (None, "None"),
        ("x" * 1000, "x" * 100),
    ],
)
def test_a_source_is_an_address_without_its_port(peer: object, source: str) -> None:
    assert source_of(peer) == source


def test_held_events_of_a_plugin_are_counted_by_its_service() -> None:
    events = ServiceEvents("test", Clock().seconds)
    for _ in range(AT_ONCE + 5):
        events.log.info("file refused", peer="192.0.2.7")
    assert events.counts["log event held", "file refused"] == 5


def test_short_descriptors_are_reported_once_a_minute() -> None:
    clock = Clock()
    server = ServerEvents(clock.seconds)
    with capturedLogs() as events:
        for _ in range(10):
            server.descriptors_short(1024)
        clock.advance(ALIKE_PERIOD)
        server.descriptors_short(1024)
    assert [event.get("alike") for event in events] == [None, 9]
