from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.config.written import Rate
from sockd.limits.buckets import Bucket

UPTIME = 3e7
"""Seconds of a machine that has been up for a year: as a float its clock is coarser than at the start."""


def taken(bucket: Bucket, now: float, tries: int) -> int:
    return sum(bucket.take(now) for _ in range(tries))


@pytest.mark.parametrize("began", [0.0, UPTIME])
@pytest.mark.parametrize("count", [1, 7, 100, 5000])
@pytest.mark.parametrize("seconds", [1.0, 60.0, 3600.0])
def test_the_number_that_is_written_comes_at_once_and_no_more(
    count: int, seconds: float, began: float
) -> None:
    bucket = Bucket(Rate(count, seconds))
    assert taken(bucket, began, count + 10) == count


@pytest.mark.parametrize("began", [0.0, UPTIME])
def test_a_token_comes_back_after_its_share_of_the_time_and_all_after_the_whole(began: float) -> None:
    bucket = Bucket(Rate(60, 60.0))
    taken(bucket, began, 60)
    assert taken(bucket, began + 0.9, 5) == 0
    assert taken(bucket, began + 1, 5) == 1
    assert taken(bucket, began + 3.5, 5) == 2
    assert taken(bucket, began + 64, 100) == 60


def test_a_bucket_that_is_left_alone_holds_no_more_than_at_first() -> None:
    bucket = Bucket(Rate(10, 1.0))
    taken(bucket, 0, 10)
    assert taken(bucket, 1_000_000, 100) == 10


@given(
    st.integers(1, 50),
    st.sampled_from([0.5, 1.0, 60.0]),
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 60)), max_size=30),
)
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate(
    count: int, seconds: float, tries: list[tuple[float, int]]
) -> None:
    bucket, now = Bucket(Rate(count, seconds)), UPTIME
    came: list[tuple[float, int]] = []
    for wait, number in tries:
        now += wait
        came.append((now, taken(bucket, now, number)))
    for first in range(len(came)):
        for last in range(first, len(came)):
            stretch = came[last][0] - came[first][0]
            number = sum(number for _, number in came[first : last + 1])
            assert number <= count + stretch * count / seconds + 0.02


@given(st.lists(st.floats(0, 2), max_size=30))
def test_asking_changes_nothing(moments: list[float]) -> None:
    asked, left_alone = Bucket(Rate(3, 2.0)), Bucket(Rate(3, 2.0))
    taken(asked, 5, 3)
    taken(left_alone, 5, 3)
    for moment in sorted(moments):
        asked.until(5 + moment, 2)
    assert asked.until(7.1, 3) == left_alone.until(7.1, 3) == 0
    assert taken(asked, 6, 9) == taken(left_alone, 6, 9)


@given(st.integers(1, 10**9), st.floats(0.1, 3600), st.floats(0, 10**9), st.floats(1, 10**6))
def test_after_the_wait_that_it_tells_there_is_enough(
    count: int, seconds: float, spent: float, cost: float
) -> None:
    bucket = Bucket(Rate(count, seconds))
    bucket.spend(0.0, spent)
    wait = bucket.until(0.0, cost)
    assert bucket.until(wait, cost) <= 1e-9 * wait


def test_a_cost_above_the_bucket_waits_until_it_is_full_and_is_paid_afterwards() -> None:
    bucket = Bucket(Rate(1000, 1.0))
    assert bucket.until(0, 5000) == 0
    bucket.spend(0, 5000)
    assert bucket.until(0, 1) == pytest.approx(4.001)
    assert bucket.until(0, 5000) == pytest.approx(5)
    assert not bucket.take(3.9)
    assert bucket.take(4.1)
