from __future__ import annotations

import pytest

from benchmarks.churn import LOOKS, NOISE, SLOPE, Look, churn, leaked

FEW = 20_000
"""Connections: enough to see a leak, few enough for a test. The command makes 100,000."""


def looks(*, descriptors: int = 0, resident: int = 0, step: int = 5000) -> list[Look]:
    """Return samples of a daemon that leaks so many bytes for each connection."""
    counts = range(step, step * (LOOKS + 1), step)
    return [Look(n, 21 + n * descriptors, 60_000_000 + n * resident) for n in counts]


def test_thousands_of_connections_leave_neither_descriptors_nor_memory_behind() -> None:
    pytest.importorskip("uvloop")
    assert leaked(churn(FEW)) == ""


def test_constant_memory_is_no_leak() -> None:
    assert leaked(looks()) == ""


def test_a_descriptor_left_behind_is_a_leak() -> None:
    assert "descriptors" in leaked(looks(descriptors=1))


def test_memory_that_grows_with_the_connections_is_a_leak() -> None:
    assert "bytes for each connection" in leaked(looks(resident=SLOPE + 1))
    assert leaked(looks(resident=SLOPE - 1)) == ""


def test_a_few_pages_more_are_no_leak() -> None:
    grown = looks(step=1)
    grown[-1] = Look(LOOKS, 21, 60_000_000 + NOISE // 4)
    assert leaked(grown) == ""
