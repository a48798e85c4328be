"""Table of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.crash.trial import Outcome

_RESULTS = "## Results"

Results = Mapping[str, Mapping[str, Sequence[Outcome]]]
"""Outcomes by row and column."""


def markdown(results: Results) -> str:
    """Format the trials of each row and column that stood, out of all, in Markdown."""
    columns = list(dict.fromkeys(column for row in results.values() for column in row))
    rows = [["upload", *columns], ["---", *("---:" for _ in columns)]]
    rows += [[name, *(_cell(row.get(column, ())) for column in columns)] for name, row in results.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(outcomes: Sequence[Outcome]) -> str:
    stood = sum(not outcome.faults for outcome in outcomes)
    return f"{stood} of {len(outcomes)}" if outcomes else "-"


def broken(results: Results) -> list[str]:
    """Describe each trial that did not stand, in a line."""
    return [
        f"{name}, {column}, {outcome.at}: {'; '.join(dict.fromkeys(outcome.faults))}"
        for name, row in results.items()
        for column, outcomes in row.items()
        for outcome in outcomes
        if outcome.faults
    ]


def with_results(page: str, results: str) -> str:
    """Return a page in Markdown with another content of its section "Results"."""
    before, _, rest = page.partition(f"\n{_RESULTS}\n")
    _, found, after = rest.partition("\n## ")
    return f"{before}\n{_RESULTS}\n\n{results}\n{found}{after}"
