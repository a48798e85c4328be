from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmarks.soak.__main__ import soak
from benchmarks.soak.daemon import Held
from benchmarks.soak.plot import svg
from benchmarks.soak.verdict import MINUTES, SLOPE, End, Look, faults, slope

SHORT = 12.0
"""Seconds of load: enough for every kind of visit and for two reloads."""

HELD = Held(descriptors=90, timers=3)

FINE = End(before=HELD, after=HELD, open=0, exit_code=0, errors=())


def looks(*, growth: float = 0.0, minutes: float = 3 * MINUTES, warmed: int = 0) -> list[Look]:
    """Return samples of each half minute, whose memory grows by so many KB a minute after a beginning."""
    first = Look(0, 1, 40_000 - warmed, 40_000, 60_000, 90, 3, 5, 12, 0.001, 0.0, 0.0, 0, 0)
    seconds = [30.0 * number for number in range(1, round(minutes * 2) + 1)]
    return [first, *(replace(first, seconds=at, private=40_000 + round(growth * at / 60)) for at in seconds)]


@pytest.mark.long
def test_a_short_soak_leaves_nothing_behind_and_no_client_sees_an_error() -> None:
    pytest.importorskip("uvloop")
    shown: list[Look] = []
    found = soak(SHORT, 2.0, shown.append)
    assert faults(found.looks, found.end) == []
    assert found.looks == shown
    assert {"short_echo", "tls_echo", "chat_party", "upload", "too_many", "reload"} <= found.done.keys()


@pytest.mark.long
def test_a_short_soak_of_workers_with_an_upgrade_leaves_nothing_behind_and_no_client_sees_an_error() -> None:
    pytest.importorskip("uvloop")
    found = soak(SHORT, 2.0, lambda look: None, workers=2)
    assert faults(found.looks, found.end) == []
    assert {"short_echo", "trusted_echo", "udp", "reload", "upgrade"} <= found.done.keys()


def test_memory_that_stays_is_no_leak() -> None:
    assert faults(looks(), FINE) == []


def test_memory_that_grows_all_the_time_is_a_leak() -> None:
    assert faults(looks(growth=SLOPE - 1), FINE) == []
    assert "KB a minute" in faults(looks(growth=SLOPE + 1), FINE)[0]


def test_memory_at_the_beginning_does_not_count() -> None:
    assert slope(looks(warmed=20_000)) == 0


def workers_that_grow(*, each: int, first: int = 0) -> list[Look]:
    """Return samples with an upgrade every 4 minutes; workers grow, those of each generation by `each` KB
    more."""
    return [
        replace(
            look,
            generation=1 + (generation := int(look.seconds // 240)),
            private=60_000 + round(20 * (look.seconds % 240)) + each * generation,
            first=40_000 + round(first * look.seconds / 60),
        )
        for look in looks()
    ]


def test_new_workers_begin_with_little_memory_and_that_is_no_slope() -> None:
    assert faults(workers_that_grow(each=0), FINE) == []


def test_workers_that_begin_with_more_each_time_are_a_leak() -> None:
    assert "KB a minute" in faults(workers_that_grow(each=5 * round(SLOPE)), FINE)[0]


def test_a_supervisor_that_grows_is_a_leak_whatever_its_workers_do() -> None:
    assert "KB a minute" in faults(workers_that_grow(each=0, first=round(SLOPE) + 1), FINE)[0]


def test_a_run_too_short_to_tell_is_not_judged_by_its_memory() -> None:
    assert faults(looks(growth=100 * SLOPE, minutes=MINUTES / 2), FINE) == []


@pytest.mark.parametrize(
    ("end", "word"),
    [
        (replace(FINE, after=replace(HELD, descriptors=91)), "descriptors"),
        (replace(FINE, after=replace(HELD, timers=4)), "timers"),
        (replace(FINE, open=1), "connection"),
        (replace(FINE, exit_code=1), "end with 0"),
        (replace(FINE, errors=["echo: EOFError"]), "EOFError"),
    ],
)
def test_each_thing_left_behind_is_a_fault(end: End, word: str) -> None:
    (fault,) = faults(looks(), end)
    assert word in fault


def test_the_drawing_is_well_formed_and_has_a_curve_for_each_figure() -> None:
    drawn = ElementTree.fromstring(svg(looks(growth=10), "a < b & c"))
    assert len(drawn.findall("{*}polyline")) == 6
    alone = ElementTree.fromstring(svg(looks(), "without workers"))
    assert len(alone.findall("{*}polyline")) == 5
