from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import pytest

from benchmarks import plots, report
from benchmarks.peers import PEERS
from benchmarks.scenarios import SCENARIOS, Sample, Scenario

BY_KEY = {scenario.key: scenario for scenario in SCENARIOS}
ECHO = BY_KEY["tcp-1k"]


def sample(micros: float) -> Sample:
    """Return a sample of a thousand messages at a certain cost."""
    cpu = micros * 1000 / 1e6
    return Sample(1000, seconds=0.1, server_cpu=cpu, load_cpu=0.1, p50=0.001, p99=0.004, grown=0)


def found(scenario: Scenario = ECHO, **costs: list[float]) -> list[report.Result]:
    samples = {key.replace("_", "-"): [sample(cost) for cost in values] for key, values in costs.items()}
    return report.results(scenario, PEERS, samples)


def test_a_server_is_judged_by_the_median_of_its_rounds_and_the_cheapest_comes_first() -> None:
    sockd, c = found(c=[20.0, 4.0, 900.0], sockd=[1.0, 5.0, 6.0])
    assert (sockd.peer.key, c.peer.key) == ("sockd", "c")
    assert sockd.cost == pytest.approx(5)
    assert (c.cost, c.lowest, c.highest) == pytest.approx((20, 4, 900))
    assert sockd.rate == pytest.approx(10)


def test_ratios_are_to_the_floor_and_to_what_users_of_twisted_have() -> None:
    c, sockd, _ = found(c=[4.0], sockd=[5.0], twisted_epoll=[15.0])
    assert (sockd.to_floor, sockd.to_stock) == pytest.approx((1.25, 1 / 3))
    assert c.to_floor == pytest.approx(1)


def test_without_a_reference_there_is_no_ratio() -> None:
    (alone,) = found(sockd=[5.0])
    assert (alone.to_floor, alone.to_stock) == (None, None)
    assert report.times(alone.to_floor) == "-"
    assert report.ratio(5, 0) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.034, "0.03"), (4.456, "4.46"), (13.94, "13.9"), (272.6, "273"), (1011.2, "1,011")]
)
def test_a_figure_has_no_more_digits_than_mean_something(value: float, text: str) -> None:
    assert report.figure(value) == text


def test_markdown_has_a_row_for_each_server_and_a_gap_where_nothing_was_measured() -> None:
    udp = BY_KEY["udp-256"]
    grid = report.markdown(
        {ECHO: found(c=[4.0], sockd=[5.0]), udp: found(udp, c=[3.0], node=[9.0])}, "on a machine."
    )
    assert grid.splitlines() == [
        "| server | TCP 50 x 1 KiB, µs | UDP 50 x 256 B, µs |",
        "| --- | ---: | ---: |",
        "| C epoll | 4.00 (1.00 x) | 3.00 (1.00 x) |",
        "| **sockd, its default** | 5.00 (1.25 x) | - |",
        "| Node net | - | 9.00 (3.00 x) |",
        "",
        f"{report.LEGEND} on a machine.",
    ]


def test_tls_has_a_table_of_its_own_that_compares_with_twisted() -> None:
    tls = BY_KEY["tls-64"]
    grid = report.markdown({ECHO: found(c=[4.0]), tls: found(tls, uvloop=[5.0], twisted_epoll=[10.0])}, "")
    assert grid.split("\n\n")[1].splitlines() == [
        "| server | TLS 50 x 64 B, µs |",
        "| --- | ---: |",
        "| uvloop Protocol | 5.00 (0.50 x) |",
        "| Twisted epoll | 10.0 (1.00 x) |",
    ]


def test_every_scenario_is_in_one_table() -> None:
    places = [protocol for together in report.TABLES for protocol in together]
    assert sorted(places) == sorted({scenario.protocol for scenario in SCENARIOS})


def test_rows_hold_every_sample_as_it_was() -> None:
    file = io.StringIO()
    report.Rows(file).add(ECHO, PEERS[0], 2, sample(5))
    (row,) = csv.DictReader(io.StringIO(file.getvalue()))
    assert (row["scenario"], row["server"], row["round"], row["cost"]) == ("tcp-1k", "sockd", "2", "5")
    assert float(row["server_cpu"]) == pytest.approx(0.005)


def test_a_plot_is_valid_and_its_bars_are_as_long_as_the_costs() -> None:
    drawing = ElementTree.fromstring(plots.svg(ECHO, found(c=[4.0], sockd=[5.0, 8.0, 10.0])))
    _, *bars = drawing.iter("{http://www.w3.org/2000/svg}rect")
    floor, own = (float(bar.attrib["width"]) for bar in bars)
    assert own == pytest.approx(2 * floor)
    assert max(floor, own) < plots.BARS


def test_a_plot_says_what_its_ratios_compare_with() -> None:
    with_c = plots.svg(ECHO, found(c=[4.0], sockd=[5.0]))
    assert "in brackets the ratio to C epoll" in with_c
    assert "5.00 (1.25 x)" in with_c
    assert "brackets" not in plots.svg(ECHO, found(sockd=[5.0]))


def test_a_plot_marks_the_range_where_the_rounds_differ() -> None:
    assert plots.svg(ECHO, found(c=[4.0], sockd=[5.0, 8.0])).count("<path") == 1
