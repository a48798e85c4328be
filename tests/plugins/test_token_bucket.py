"""Token bucket of the plugins."""

from __future__ import annotations

from twisted.internet.task import Clock

from sockd_plugins.token_bucket import TokenBucket


def taken(bucket: TokenBucket) -> int:
    """Take tokens until none is left; return how many there were."""
    return sum(1 for _ in iter(bucket.take, False))


def test_a_full_bucket_allows_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(2.0, 5, clock.seconds)
    assert taken(bucket) == 5
    clock.advance(0.25)
    assert not bucket.take()
    clock.advance(0.25)
    assert bucket.take()
    assert not bucket.take()


def test_a_bucket_saves_no_more_than_a_burst() -> None:
    clock = Clock()
    bucket = TokenBucket(2.0, 5, clock.seconds)
    clock.advance(3600)
    assert taken(bucket) == 5
