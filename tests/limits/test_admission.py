from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from twisted.internet.task import Clock

from sockd.config.network_sets import Networks
from sockd.config.written import Rate
from sockd.limits import AccessList, Admission, Terms

LAN = AccessList(allow=Networks.of([ip_network("192.0.2.0/24")]))


def test_a_number_alone_is_how_many_may_be_open() -> None:
    places = Admission(2)
    assert [places.admit(host) for host in ("192.0.2.1", None, "::1")] == [None, None, "max_connections"]
    places.release()
    assert places.admit("::1") is None
    assert places.open == 2


def test_a_place_is_given_back_only_for_an_address_that_has_one() -> None:
    places = Admission(2)
    places.admit("192.0.2.1")
    with pytest.raises(KeyError):
        places.release("192.0.2.2")
    places.release("192.0.2.1")
    with pytest.raises(KeyError):
        places.release("192.0.2.1")
    assert places.open == 0


def test_peers_without_an_address_are_limited_by_the_totals_alone() -> None:
    places = Admission(
        Terms(
            max_connections=3,
            access=LAN,
            max_per_source=1,
            connection_rate_per_source=Rate(1, 1.0),
            datagram_rate_per_source=Rate(1, 1.0),
            datagram_rate=Rate(2, 1.0),
        ),
        Clock().seconds,
    )
    assert [places.admit(None) for _ in range(4)] == [None, None, None, "max_connections"]
    assert [places.admit_datagram(None, 0.0) for _ in range(3)] == [None, None, "datagram_rate"]
    assert places.sources == 0


def test_the_first_limit_that_a_connection_fails_is_the_reason() -> None:
    places = Admission(
        Terms(
            max_connections=4,
            access=LAN,
            max_per_source=2,
            connection_rate=Rate(3, 60.0),
            connection_rate_per_source=Rate(2, 60.0),
            penalty=5.0,
            penalty_after=2,
        ),
        Clock().seconds,
    )
    tries = ["10.0.0.1"] + ["192.0.2.1"] * 6 + ["192.0.2.2"] * 2
    assert [places.admit(host) for host in tries] == [
        "denied",
        None,
        None,
        "max_per_source",
        "max_per_source",
        "max_per_source",
        "penalty",
        None,
        "connection_rate",
    ]
    places.release("192.0.2.2")
    places.change(replace(places.terms, max_connections=2))
    assert places.admit("192.0.2.2") == "max_connections"


def test_the_first_limit_that_a_datagram_fails_is_the_reason() -> None:
    places = Admission(
        Terms(
            max_connections=100,
            access=LAN,
            datagram_rate=Rate(3, 60.0),
            datagram_rate_per_source=Rate(2, 60.0),
        ),
        Clock().seconds,
    )
    tries = ["10.0.0.1"] + ["192.0.2.1"] * 3 + ["192.0.2.2"] * 2
    assert [places.admit_datagram(host, 0.0) for host in tries] == [
        "denied",
        None,
        None,
        "datagram_rate_per_source",
        None,
        "datagram_rate",
    ]


def test_a_refused_source_takes_nothing_from_the_others() -> None:
    places = Admission(
        Terms(
            max_connections=100,
            access=LAN,
            max_per_source=1,
            connection_rate=Rate(2, 60.0),
            datagram_rate=Rate(2, 60.0),
            datagram_rate_per_source=Rate(1, 60.0),
        ),
        Clock().seconds,
    )
    for _ in range(100):
        for host in ("192.0.2.1", "10.0.0.1"):
            places.admit(host)
            places.admit_datagram(host, 0.0)
    assert places.admit("192.0.2.2") is None
    assert places.admit_datagram("192.0.2.2", 0.0) is None


def test_a_peer_that_finds_the_totals_full_uses_nothing_up_and_gets_no_penalty() -> None:
    clock = Clock()
    places = Admission(
        Terms(
            max_connections=1,
            connection_rate_per_source=Rate(1, 60.0),
            datagram_rate=Rate(1, 1.0),
            datagram_rate_per_source=Rate(1, 60.0),
            penalty=60.0,
            penalty_after=1,
        ),
        clock.seconds,
    )
    places.admit("192.0.2.1")
    places.admit_datagram("192.0.2.1", clock.seconds())
    assert {places.admit("192.0.2.2") for _ in range(100)} == {"max_connections"}
    assert {places.admit_datagram("192.0.2.2", clock.seconds()) for _ in range(100)} == {"datagram_rate"}
    places.release("192.0.2.1")
    clock.advance(1)
    assert places.admit("192.0.2.2") is None
    assert places.admit_datagram("192.0.2.2", clock.seconds()) is None


def test_without_limits_on_datagrams_all_come_in() -> None:
    assert {Admission(1).admit_datagram("192.0.2.1", 0.0) for _ in range(1000)} == {None}


def test_a_client_behind_a_proxy_counts_once_it_is_known() -> None:
    places = Admission(
        Terms(max_connections=100, access=LAN, max_per_source=1, connection_rate=Rate(5, 60.0)),
        Clock().seconds,
    )
    assert places.admit(None) is None
    assert places.identify("192.0.2.1") is None
    assert places.admit(None) is None
    assert places.identify("192.0.2.1") == "max_per_source"
    assert places.identify("10.0.0.1") == "denied"
    places.release(None)
    places.release("192.0.2.1")
    assert places.open == 0
    assert [places.admit("192.0.2.1"), places.admit("192.0.2.1")] == [None, "max_per_source"]


def test_room_is_where_anybody_could_come_in_now() -> None:
    clock = Clock()
    places = Admission(Terms(max_connections=2, connection_rate=Rate(2, 10.0)), clock.seconds)
    assert places.has_room()
    places.admit()
    places.admit()
    assert not places.has_room()
    places.release()
    assert not places.has_room()
    clock.advance(places.seconds_until_room())
    assert places.seconds_until_room() == 0
    assert places.has_room()
    assert places.admit() is None
    assert clock.seconds() == pytest.approx(5)


def test_without_a_rate_there_is_nothing_to_wait_for_but_a_place() -> None:
    places = Admission(1)
    places.admit()
    assert (places.has_room(), places.seconds_until_room()) == (False, 0)


def test_fewer_places_than_are_taken_let_nobody_in_until_enough_are_given_back() -> None:
    places = Admission(5)
    for _ in range(5):
        places.admit()
    places.change(Terms(2))
    for _ in range(3):
        assert places.admit() == "max_connections"
        places.release()
    assert places.admit() == "max_connections"
    places.release()
    assert places.admit() is None


def test_connections_that_are_open_count_under_a_limit_that_comes_later() -> None:
    places = Admission(Terms(max_connections=100), Clock().seconds)
    hosts = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
    for host in hosts:
        places.admit(host)
    places.change(replace(places.terms, max_per_source=2))
    assert places.admit("2001:db8::3") == "max_per_source"
    assert places.admit("2001:db8:0:1::3") is None
    places.change(replace(places.terms, max_per_source=4, source_prefix_ipv6=48))
    assert places.admit("2001:db8:0:2::") == "max_per_source"
    for host in [*hosts, "2001:db8:0:1::3"]:
        places.release(host)
    assert (places.open, places.sources) == (0, 0)


def test_a_rate_that_changes_begins_anew_and_one_that_does_not_goes_on() -> None:
    places = Admission(
        Terms(max_connections=100, connection_rate=Rate(1, 3600.0), datagram_rate=Rate(1, 3600.0)),
        Clock().seconds,
    )
    places.admit()
    places.admit_datagram(None, 0.0)
    places.change(replace(places.terms, connection_rate=Rate(1, 1.0), datagram_rate=Rate(1, 3600.0)))
    assert places.admit() is None
    assert places.admit_datagram(None, 0.0) == "datagram_rate"


def test_the_use_of_a_source_is_kept_when_only_other_limits_change() -> None:
    places = Admission(
        Terms(max_connections=100, connection_rate_per_source=Rate(1, 3600.0)), Clock().seconds
    )
    places.admit("192.0.2.1")
    places.change(replace(places.terms, max_connections=7, access=LAN))
    assert places.admit("192.0.2.1") == "connection_rate_per_source"


def test_a_penalty_ends_when_its_limit_is_taken_away() -> None:
    places = Admission(
        Terms(max_connections=100, max_per_source=1, penalty=3600.0, penalty_after=1), Clock().seconds
    )
    for _ in range(4):
        places.admit("192.0.2.1")
    assert places.admit("192.0.2.1") == "penalty"
    places.change(replace(places.terms, penalty=None))
    assert places.admit("192.0.2.1") == "max_per_source"
    places.change(Terms(100))
    assert places.admit("192.0.2.1") is None
