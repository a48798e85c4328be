"""Reports of the samples: medians and ratios, for a terminal, in Markdown and as raw rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TextIO

from rich.table import Table

from benchmarks.peers import Peer
from benchmarks.scenarios import Protocol, Sample, Scenario

LEGEND = (
    "The processor time of the server for each message, connection or line; the time until the last of 100 "
    "connections is served; the memory of an idle connection. In brackets the ratio to C, for idle "
    "connections and for TLS to Twisted on epoll, for lines to LineOnlyReceiver."
)

TABLES: tuple[tuple[Protocol, ...], ...] = (("tcp", "udp"), ("tls",), ("chat",), ("lines",))
"""Protocols that share a table."""

Samples = Mapping[str, Sequence[Sample]]
"""Samples of one scenario, by the key of the server."""


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one server in one scenario: medians over the rounds."""

    peer: Peer
    cost: float
    lowest: float
    highest: float
    to_floor: float | None
    to_stock: float | None
    to_reference: float | None
    rate: float
    p50: float
    p99: float
    busy: float
    """Share of its core that the server used. Well below 1 the load, or another process, was the limit."""


def results(scenario: Scenario, peers: Iterable[Peer], samples: Samples) -> list[Result]:
    """Return the servers of one scenario, the best first."""
    costs = {key: [scenario.cost(sample) for sample in taken] for key, taken in samples.items() if taken}
    typical = {key: median(values) for key, values in costs.items()}
    found = [
        Result(
            peer,
            cost=typical[peer.key],
            lowest=min(costs[peer.key]),
            highest=max(costs[peer.key]),
            to_floor=ratio(typical[peer.key], typical.get(scenario.floor)),
            to_stock=ratio(typical[peer.key], typical.get(scenario.stock)),
            to_reference=ratio(typical[peer.key], typical.get(scenario.reference)),
            rate=median(map(scenario.rate, samples[peer.key])),
            p50=median(sample.p50 for sample in samples[peer.key]),
            p99=median(sample.p99 for sample in samples[peer.key]),
            busy=median(sample.server_cpu / sample.seconds for sample in samples[peer.key]),
        )
        for peer in peers
        if peer.key in typical
    ]
    return sorted(found, key=lambda result: result.cost)


def ratio(cost: float, reference: float | None) -> float | None:
    """Return the ratio to the reference; None without a reference or a value."""
    return cost / reference if reference and reference > 0 else None


def figure(value: float) -> str:
    """Format a figure with three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def times(value: float | None) -> str:
    """Format a ratio."""
    return "-" if value is None else f"{figure(value)} x"


def terminal(scenario: Scenario, found: Sequence[Result]) -> Table:
    """Format one scenario for a terminal of 80 columns."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("server")
    for heading in ("cost", "to C", "to Twisted", scenario.rate_unit, "p50 ms", "p99 ms", "busy"):
        table.add_column(heading, justify="right")
    for result in found:
        table.add_row(
            result.peer.title,
            figure(result.cost),
            times(result.to_floor),
            times(result.to_stock),
            figure(result.rate),
            figure(result.p50 * 1e3),
            figure(result.p99 * 1e3),
            f"{result.busy:.0%}",
            style="bold" if result.peer.key.startswith("sockd") else None,
        )
    return table


def markdown(all_results: Mapping[Scenario, Sequence[Result]], conditions: str) -> str:
    """Format every scenario: tables for plain servers, for TLS and for framers, with explanations."""
    grids = (
        _grid([scenario for scenario in all_results if scenario.protocol in together], all_results)
        for together in TABLES
    )
    return "\n\n".join(filter(None, [*grids, f"{LEGEND} {conditions}"])) + "\n"


def _grid(scenarios: Sequence[Scenario], all_results: Mapping[Scenario, Sequence[Result]]) -> str:
    """Return a row for each server, in the order of its first scenario."""
    rows: dict[str, list[str]] = {}
    for column, scenario in enumerate(scenarios):
        for result in all_results[scenario]:
            row = rows.setdefault(result.peer.title, ["-"] * len(scenarios))
            row[column] = cell(result)
    if not rows:
        return ""
    lines = [
        ["server", *(scenario.short for scenario in scenarios)],
        ["---", *("---:" for _ in scenarios)],
        *([f"**{title}**" if title.startswith("sockd") else title, *cells] for title, cells in rows.items()),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(result: Result) -> str:
    """Format the cost and its ratio to the reference."""
    return figure(result.cost) + (f" ({times(result.to_reference)})" if result.to_reference else "")


class Rows:
    """Raw measurements as CSV, written as they come."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._writer = csv.writer(file)
        self._writer.writerow(["scenario", "server", "round", "cost", "unit", *Sample.__dataclass_fields__])

    def add(self, scenario: Scenario, peer: Peer, number: int, sample: Sample) -> None:
        """Write one measurement."""
        head = [scenario.key, peer.key, number, f"{scenario.cost(sample):.6g}", scenario.unit]
        self._writer.writerow([*head, *asdict(sample).values()])
        self._file.flush()
