"""Admission beside a plain model: no limit is ever exceeded, and none stays shut."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from sockd.config.network_sets import Networks
from sockd.config.written import Rate
from sockd.limits import AccessList, Admission, Terms
from sockd.limits import Rate as AnyRate
from sockd.limits.sources import source_key

DENIED = "203.0.113.9"
HOSTS = ["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::1", DENIED]
ACCESS = AccessList(deny=Networks.of([ip_network("203.0.113.0/24")]))
LONGEST = 120.0
"""Seconds. Longer than any rate or penalty below."""

hosts = st.sampled_from(HOSTS)
rates = st.none() | st.builds(Rate, st.integers(1, 4), st.sampled_from([1.0, 10.0, 60.0]))
limits = st.builds(
    Terms,
    max_connections=st.integers(1, 6),
    access=st.sampled_from([None, ACCESS]),
    max_per_source=st.none() | st.integers(1, 3),
    connection_rate=rates,
    connection_rate_per_source=rates,
    datagram_rate=rates,
    datagram_rate_per_source=rates,
    source_prefix_ipv4=st.sampled_from([32, 24]),
    source_prefix_ipv6=st.sampled_from([64, 32]),
    penalty=st.none() | st.sampled_from([1.0, 60.0]),
    penalty_after=st.integers(1, 4),
)


class Admitting(RuleBasedStateMachine):
    """Random peers come and go while the limits change."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.admission = Admission(Terms(3, max_per_source=2), self.clock.seconds)
        self.open: list[str | None] = []
        self.came: dict[str, list[tuple[float, str | None]]] = {"connection": [], "datagram": []}

    @property
    def terms(self) -> Terms:
        return self.admission.terms

    def source(self, host: str) -> bytes:
        return source_key(host, self.terms.source_prefix_ipv4, self.terms.source_prefix_ipv6)

    def per_source(self) -> Counter[bytes]:
        return Counter(self.source(host) for host in self.open if host is not None)

    def note(self, kind: str, host: str | None) -> None:
        """Somebody came in: no rate may be exceeded by it, over any time up to now."""
        self.came[kind].append((self.clock.seconds(), host))
        total, own = {
            "connection": (self.terms.connection_rate, self.terms.connection_rate_per_source),
            "datagram": (self.terms.datagram_rate, self.terms.datagram_rate_per_source),
        }[kind]
        everybody = [moment for moment, _ in self.came[kind]]
        self.check_rate(total, everybody)
        if host is not None:
            same = [
                moment
                for moment, other in self.came[kind]
                if other is not None and self.source(other) == self.source(host)
            ]
            self.check_rate(own, same)

    def check_rate(self, rate: AnyRate | None, moments: list[float]) -> None:
        for number, moment in enumerate(reversed(moments), 1):
            if rate is not None:
                stretch = self.clock.seconds() - moment
                assert number <= rate.count + stretch * rate.count / rate.seconds + 0.02

    def check_places(self, host: str | None) -> None:
        assert len(self.open) <= self.terms.max_connections
        if host is not None:
            assert self.terms.access is None or host != DENIED
            if self.terms.max_per_source is not None:
                assert self.per_source()[self.source(host)] <= self.terms.max_per_source

    @rule(host=st.none() | hosts)
    def connect(self, host: str | None) -> None:
        reason = self.admission.admit(host)
        match reason:
            case None:
                self.open.append(host)
                self.note("connection", host)
                self.check_places(host)
            case "denied":
                assert host == DENIED
                assert self.terms.access is not None
            case "max_connections":
                assert len(self.open) >= self.terms.max_connections
            case "max_per_source":
                assert host is not None
                assert self.terms.max_per_source is not None
                assert self.per_source()[self.source(host)] >= self.terms.max_per_source
            case _:
                assert reason in ("connection_rate", "connection_rate_per_source", "penalty")
                assert reason == "connection_rate" or host is not None

    @rule(host=hosts)
    def connect_through_a_proxy(self, host: str) -> None:
        if self.admission.admit(None) is None:
            counted = None if self.admission.identify(host) else host
            self.open.append(counted)
            self.check_places(counted)
            self.came["connection"].append((self.clock.seconds(), None))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.open) - 1))
        self.admission.release(self.open.pop(number))

    @rule(host=st.none() | hosts)
    def send(self, host: str | None) -> None:
        if self.admission.admit_datagram(host, self.clock.seconds()) is None:
            self.note("datagram", host)

    @rule(seconds=st.sampled_from([0.01, 0.25, 1.0, 7.5, 60.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(terms=limits)
    def change_everything(self, terms: Terms) -> None:
        self.admission.change(terms)
        self.came = {"connection": [], "datagram": []}  # rates may begin anew

    @rule(most=st.integers(1, 6), access=st.sampled_from([None, ACCESS]))
    def change_what_leaves_the_rates(self, most: int, access: AccessList | None) -> None:
        self.admission.change(replace(self.terms, max_connections=most, access=access))

    @invariant()
    def what_is_open_is_counted(self) -> None:
        assert self.admission.open == len(self.open)

    def teardown(self) -> None:
        """Check that each limit admits peers again once all have left and time has passed."""
        for host in self.open:
            self.admission.release(host)
        self.clock.advance(LONGEST)
        assert self.admission.has_room()
        for host in HOSTS:
            self.admission.change(replace(self.terms, access=None))
            assert self.admission.admit_datagram(host, self.clock.seconds()) is None
            assert self.admission.admit(host) is None
            self.admission.release(host)
            self.clock.advance(LONGEST)
        assert self.admission.open == 0
        self.admission.change(Terms(0))
        assert self.admission.sources == 0


TestAdmitting = Admitting.TestCase
TestAdmitting.settings = settings(max_examples=150, stateful_step_count=40)
