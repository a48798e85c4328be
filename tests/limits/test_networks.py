from __future__ import annotations

import random
import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from types import FrameType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sockd.config.network_sets import NONE, IPNetwork, Networks, packed
from sockd.limits.networks import AccessList


def networks(*texts: str) -> Networks:
    return Networks.of(ip_network(text) for text in texts)


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("10.1.2.3", True),
        ("11.0.0.0", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:a01:203", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", True),
        ("fe80::2%eth0", False),
    ],
)
def test_an_address_is_in_a_set_of_networks_however_it_is_written(host: str, inside: bool) -> None:
    assert (host in networks("10.0.0.0/8", "2001:db8::/32", "fe80::1/128")) is inside


def test_no_address_is_in_a_set_without_networks() -> None:
    assert "10.0.0.1" not in NONE
    assert "::1" not in NONE


def test_a_network_of_mapped_addresses_is_one_of_ipv4() -> None:
    assert "10.9.9.9" in networks("::ffff:10.0.0.0/104")


def test_all_of_ipv6_is_nothing_of_ipv4_and_the_other_way_round() -> None:
    assert "::ffff:192.0.2.1" not in networks("::/0")
    assert "2001:db8::1" not in networks("0.0.0.0/0")


def test_text_that_is_no_address_is_an_error_and_never_permitted() -> None:
    for host in ("", "run/echo.sock", "1.2.3", "::g"):
        with pytest.raises(OSError, match="inet_pton"):
            AccessList().permits(host)


@pytest.mark.parametrize(
    ("allow", "deny", "permitted", "refused"),
    [
        ([], [], ["10.0.0.1", "::1"], []),
        (["10.0.0.0/8"], [], ["10.0.0.1"], ["11.0.0.1", "::1"]),
        ([], ["10.0.0.0/8"], ["11.0.0.1", "::1"], ["10.0.0.1", "::ffff:10.0.0.1"]),
        (["10.0.0.0/8"], ["10.1.0.0/16"], ["10.0.0.1"], ["10.1.0.1", "192.0.2.1"]),
        (["10.1.0.0/16"], ["10.0.0.0/8"], ["10.1.0.1"], ["10.2.0.1", "192.0.2.1"]),
        (["10.0.0.0/8"], ["10.0.0.0/8"], [], ["10.0.0.1"]),
        (["0.0.0.0/0"], ["0.0.0.0/0"], [], ["10.0.0.1", "::1"]),
        (["10.0.0.0/8", "10.1.2.0/24"], ["10.1.0.0/16"], ["10.0.0.1", "10.1.2.1"], ["10.1.0.1"]),
        (["::/0"], ["2001:db8::/32"], ["::1"], ["2001:db8::1", "10.0.0.1"]),
    ],
)
def test_the_smallest_network_decides_and_of_two_equal_ones_the_denied(
    allow: list[str], deny: list[str], permitted: list[str], refused: list[str]
) -> None:
    access = AccessList(networks(*allow), networks(*deny))
    assert [host for host in permitted + refused if access.permits(host)] == permitted


near = st.integers(0, 7).map(lambda bits: IPv4Address(bits << 29))  # so that networks lie in each other
addresses = near | st.ip_addresses()
some_networks = st.builds(
    lambda address, length: ip_network((address, min(length, address.max_prefixlen)), strict=False),
    addresses,
    st.integers(0, 3) | st.integers(0, 128),
)


@given(st.lists(some_networks), st.lists(some_networks), addresses)
def test_a_look_up_agrees_with_a_search_through_all_networks(
    allow: list[IPNetwork], deny: list[IPNetwork], address: object
) -> None:
    host = str(address)
    folded = ip_address(packed(host))

    def longest(networks: list[IPNetwork]) -> int:
        return max((network.prefixlen for network in networks if folded in network), default=-1)

    mapped = IPv6Network("::ffff:0:0/96")  # these are IPv4 networks, which this search does not know
    assume(
        not any(isinstance(network, IPv6Network) and network.subnet_of(mapped) for network in allow + deny)
    )
    allowed, denied = longest(allow), longest(deny)
    expected = allowed > denied if max(allowed, denied) >= 0 else not allow
    assert AccessList(Networks.of(allow), Networks.of(deny)).permits(host) is expected


def lines_run(access: AccessList, host: str) -> int:
    """Lines of Python that it takes to answer for a peer."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:  # as settrace calls it
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        access.permits(host)
    finally:
        sys.settrace(before)
    return count


def test_ten_thousand_networks_take_as_many_steps_as_one_of_each_length() -> None:
    numbers = random.Random(1)

    def denied(count: int) -> AccessList:
        lengths = [*range(12, 33)] * count
        prefixes = [numbers.getrandbits(length) << 32 - length for length in lengths]
        return AccessList(deny=Networks.of(map(IPv4Network, zip(prefixes, lengths, strict=True))))

    # In none of the networks, so that every length is tried: no prefix above is 0.
    assert lines_run(denied(500), "0.0.0.0") == lines_run(denied(1), "0.0.0.0")  # an address
