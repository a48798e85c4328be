from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.config.written import Rate
from sockd.limits.source_buckets import SHARED
from sockd.limits.sources import Sources, source_key
from sockd.limits.terms import Terms

A_SLASH_64 = int(IPv6Address("2001:db8:1:2::"))


def come(sources: Sources, host: str, now: float) -> str | None:
    """Try to open a connection."""
    key = sources.key(host)
    reason = sources.refuse_connection(key, now)
    if reason is None:
        sources.connect(key, now)
    return reason


def admitted(sources: Sources, host: str, now: float, tries: int) -> int:
    return [come(sources, host, now) for _ in range(tries)].count(None)


def received(sources: Sources, host: str, now: float, tries: int) -> int:
    return [sources.admit_datagram(sources.key(host), now, None) for _ in range(tries)].count(None)


def forged(number: int) -> str:
    """Return an address out of 16 million."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@given(st.sets(st.integers(0, 2**64 - 1), min_size=2, max_size=50))
def test_all_addresses_of_one_customers_network_are_one_source(suffixes: set[int]) -> None:
    hosts = {str(IPv6Address(A_SLASH_64 | suffix)) for suffix in suffixes}
    assert len({source_key(host) for host in hosts}) == 1
    assert len({source_key(host, v6_prefix=128) for host in hosts}) == len(hosts)


@pytest.mark.parametrize(
    ("one", "other", "v4_prefix", "v6_prefix", "same"),
    [
        ("192.0.2.1", "192.0.2.2", 32, 64, False),
        ("192.0.2.1", "192.0.2.254", 24, 64, True),
        ("192.0.2.1", "192.0.3.1", 24, 64, False),
        ("192.0.2.1", "::ffff:192.0.2.1", 32, 64, True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", 32, 64, False),
        ("2001:db8:0:1::", "2001:db8:0:2::", 32, 64, False),
        ("2001:db8:0:1::", "2001:db8:0:2::", 32, 48, True),
        ("2001:db8:0:1::1", "2001:DB8:0:1:0::1", 32, 128, True),
        ("fe80::1%eth0", "fe80::1%eth1", 32, 128, True),
        ("0.0.0.0", "::", 1, 1, False),
        ("32.1.13.184", "2001:db8::", 32, 32, False),
    ],
)
def test_peers_are_one_source_by_their_network(
    one: str, other: str, v4_prefix: int, v6_prefix: int, same: bool
) -> None:
    assert (source_key(one, v4_prefix, v6_prefix) == source_key(other, v4_prefix, v6_prefix)) is same


def test_ten_thousand_addresses_of_one_network_count_as_one() -> None:
    sources = Sources(Terms(10, max_per_source=5), {})
    hosts = [str(IPv6Address(A_SLASH_64 + number)) for number in range(10_000)]
    assert [come(sources, host, 0.0) for host in hosts].count(None) == 5
    assert come(sources, "2001:db8:1:3::", 0.0) is None
    assert len(sources) == 2


def test_a_million_forged_sources_stay_within_bounds_and_push_nobody_out() -> None:
    sources = Sources(
        Terms(
            100,
            max_per_source=3,
            connection_rate_per_source=Rate(2, 3600.0),
            datagram_rate_per_source=Rate(2, 3600.0),
        ),
        {"192.0.2.1": 3, "192.0.2.2": 1},
    )
    assert received(sources, "192.0.2.7", 0.0, 9) == 2
    assert admitted(sources, "192.0.2.8", 0.0, 9) == 2
    for number in range(1_000_000):
        sources.admit_datagram(sources.key(forged(number)), number / 100_000, None)
    assert len(sources) <= 65_536 + 4
    assert come(sources, "192.0.2.1", 10.0) == "max_per_source"
    assert come(sources, "192.0.2.8", 10.0) == "connection_rate_per_source"
    assert received(sources, "192.0.2.7", 10.0, 9) == 0
    assert come(sources, "192.0.2.2", 10.0) is None


@pytest.fixture
def full() -> Sources:
    """Room for 100 sources, each of which may send two in ten seconds, and all of it taken."""
    sources = Sources(Terms(9, datagram_rate_per_source=Rate(2, 10.0)), {}, capacity=100)
    for number in range(100):
        assert received(sources, forged(number), 0.0, 9) == 2
    return sources


def test_sources_without_room_are_bounded_together(full: Sources) -> None:
    number = sum(received(full, forged(number), 1.0, 3) for number in range(1_000, 101_000))
    assert number == 2 * SHARED
    assert len(full) == 100


def test_none_of_those_for_whom_there_is_no_room_gets_more_than_its_rate(full: Sources) -> None:
    assert received(full, "192.0.2.1", 1.0, 9) == 2
    assert received(full, "192.0.2.1", 6.0, 9) == 1
    # There is room again at ten seconds; what it took before still counts.
    assert received(full, "192.0.2.1", 10.0, 9) == 0
    assert received(full, "192.0.2.1", 11.0, 9) == 1
    assert received(full, "192.0.2.1", 31.0, 9) == 2


def test_once_a_flood_ends_a_new_source_has_all_of_its_rate_within_the_rates_own_time(full: Sources) -> None:
    for number in range(1_000, 101_000):
        received(full, forged(number), 5.0, 1)
    assert received(full, "192.0.2.1", 5.0, 9) == 0
    assert received(full, "192.0.2.1", 15.0, 9) == 2


def test_the_state_of_a_source_is_removed_once_it_has_no_meaning() -> None:
    sources = Sources(Terms(9, datagram_rate_per_source=Rate(2, 10.0)), {})
    for number in range(1_000):
        received(sources, forged(number), 0.0, 1)
    for number in range(500):
        received(sources, forged(number + 5_000), 20.0, 1)
    assert len(sources) == 500


def limited(penalty: float = 60.0, capacity: int = 1000) -> Sources:
    terms = Terms(9, max_per_source=1, penalty=penalty, penalty_after=10)
    return Sources(terms, {"192.0.2.1": 1}, capacity)


def test_a_source_with_too_many_refusals_is_refused_for_a_while_whatever_it_does() -> None:
    sources = limited()
    assert [come(sources, "192.0.2.1", 0.0) for _ in range(11)] == ["max_per_source"] * 11
    sources.disconnect(sources.key("192.0.2.1"))
    assert come(sources, "192.0.2.1", 0.0) == "penalty"
    assert sources.admit_datagram(sources.key("192.0.2.1"), 59.9, None) == "penalty"
    assert come(sources, "192.0.2.2", 0.0) is None
    assert come(sources, "192.0.2.1", 60.0) is None


def test_trying_on_does_not_prolong_a_penalty() -> None:
    sources = limited()
    for _ in range(11):
        come(sources, "192.0.2.1", 0.0)
    assert {come(sources, "192.0.2.1", tenth / 10) for tenth in range(600)} == {"penalty"}
    assert [come(sources, "192.0.2.1", 60.0) for _ in range(2)] == ["max_per_source"] * 2


def test_a_source_with_few_refusals_gets_no_penalty() -> None:
    sources = limited()
    reasons = {come(sources, "192.0.2.1", now * 1.0) for now in range(1000)}
    assert reasons == {"max_per_source"}


def test_a_source_that_keeps_trying_twice_as_often_gets_a_penalty_soon() -> None:
    sources = limited()
    reasons = [come(sources, "192.0.2.1", now / 2) for now in range(40)]
    assert reasons[-1] == "penalty"


def test_datagrams_bring_no_penalty_for_anybody_can_forge_them() -> None:
    sources = Sources(
        Terms(9, max_per_source=1, datagram_rate_per_source=Rate(1, 1.0), penalty=60.0, penalty_after=1), {}
    )
    assert received(sources, "192.0.2.1", 0.0, 1000) == 1
    assert come(sources, "192.0.2.1", 0.0) is None
    assert received(sources, "192.0.2.1", 1.0, 1) == 1


def test_a_penalty_stays_however_many_other_sources_try() -> None:
    sources = limited(capacity=100)
    for _ in range(12):
        come(sources, "192.0.2.1", 0.0)
    for number in range(10_000):
        for _ in range(3):
            come(sources, forged(number), 1.0)
    # Their connections are counted by the place that each of them holds; the rest is bounded.
    assert len(sources) <= 10_001 + 2 * 100
    assert come(sources, "192.0.2.1", 59.0) == "penalty"
