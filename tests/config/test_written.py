"""Durations, sizes and rates as they are written."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from sockd.config.written import (
    MAX_COUNT,
    MAX_DURATION,
    MAX_SIZE,
    Duration,
    Rate,
    read_duration,
    read_rate,
    read_size,
)
from sockd.errors import ValueFault

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("10m", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("1m30s", 90),
        ("1.5s", 1.5),
        ("0s", 0),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@given(st.lists(st.integers(0, 99), min_size=5, max_size=5).filter(any))
def test_units_add_up(counts: list[int]) -> None:
    parts = [(count, unit) for count, unit in zip(counts, UNITS, strict=True) if count]
    text = "".join(f"{count}{unit}" for count, unit in parts)
    assert read_duration(text) == pytest.approx(sum(count * UNITS[unit] for count, unit in parts))


@pytest.mark.parametrize(
    ("text", "marked", "nearest"),
    [
        ("30", "30", "30s"),
        ("30sec", "30sec", "30s"),
        ("5 min", "5 min", "5m"),
        ("1m30S", "30S", "30s"),
        ("2 hours", "2 hours", "2h"),
        ("10msec", "10msec", "10ms"),
        ("1y", "1y", None),
        ("30s1m", "1m", None),
        ("1ms1ms", "1ms", None),
        ("1h-5m", "1h-", None),
        ("soon", "soon", None),
        ("-5s", "-5s", None),
        ("", "", None),
        ("1m.5s", ".5s", None),
        ("367d", "367d", None),
    ],
)
def test_a_faulty_duration_is_marked_with_the_one_that_was_meant(
    text: str, marked: str, nearest: str | None
) -> None:
    with pytest.raises(ValueFault) as caught:
        read_duration(text)
    fault = caught.value
    end = fault.offset + fault.length if fault.length else len(text)
    assert (text[fault.offset : end], fault.nearest) == (marked, nearest)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("512B", 512),
        ("64KiB", 65536),
        ("1MiB", 2**20),
        ("1GiB", 2**30),
        ("10MB", 10**7),
        ("2KB", 2000),
        ("7", 7),
        (9, 9),
    ],
)
def test_a_size_is_read_as_bytes(written: str | int, size: int) -> None:
    assert read_size(written) == size


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("64kib", "64KiB"),
        ("64k", "64KiB"),
        ("1 mb", "1MB"),
        ("3 bytes", "3B"),
        ("5X", None),
        ("-1", None),
        (-1, None),
    ],
)
def test_a_faulty_size_has_the_one_that_was_meant(written: str | int, nearest: str | None) -> None:
    with pytest.raises(ValueFault) as caught:
        read_size(written)
    assert caught.value.nearest == nearest


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", Rate(100, 1)),
        ("60/m", Rate(60, 60)),
        ("5000/h", Rate(5000, 3600)),
        ("1000000000/s", Rate(MAX_COUNT, 1)),
    ],
)
def test_a_rate_is_a_count_in_a_time(text: str, rate: Rate) -> None:
    assert read_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "marked", "nearest"),
    [
        ("100", "100", "100/s"),
        ("100/sec", "sec", "100/s"),
        ("60/ min", " min", "60/m"),
        ("5/Hour", "Hour", "5/h"),
        ("5/d", "d", None),
        ("5/", "/", None),
        ("0/s", "0", None),
        ("1000000001/s", "1000000001", None),
        ("/s", "/s", None),
        ("-1/s", "-1/s", None),
        ("1.5/s", "1.5/s", None),
        ("many", "many", None),
        ("", "", None),
    ],
)
def test_a_faulty_rate_is_marked_with_the_one_that_was_meant(
    text: str, marked: str, nearest: str | None
) -> None:
    with pytest.raises(ValueFault) as caught:
        read_rate(text)
    fault = caught.value
    end = fault.offset + fault.length if fault.length else len(text)
    assert (text[fault.offset : end], fault.nearest) == (marked, nearest)


@given(st.text(alphabet="0123456789.dhmsKiBMG/ -", max_size=20) | st.text(max_size=20))
@example("9" * 5000)
@example("9" * 5000 + "s")
@example("\u0661s")
def test_any_text_is_a_bounded_value_or_a_fault_within_it(text: str) -> None:
    for read, bound in (
        (read_duration, MAX_DURATION),
        (read_size, MAX_SIZE),
        (lambda text: read_rate(text).count, MAX_COUNT),
    ):
        start = end = value = 0.0
        try:
            value = read(text)
        except ValueFault as fault:
            start, end = fault.offset, fault.offset + fault.length
        assert 0 <= value <= bound
        assert 0 <= start <= end <= len(text)


@pytest.mark.parametrize("first", [True, False])
def test_a_bound_holds_wherever_it_stands_in_the_fields_metadata(first: bool) -> None:
    """pydantic puts the bounds of a field before or after what its type brings along."""
    written, bound = get_args(Duration)[1], Field(ge=1)
    kind: Any = Annotated[float, bound, written] if first else Annotated[float, written, bound]
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python("500ms")
    assert TypeAdapter(kind).validate_python("2s") == 2
