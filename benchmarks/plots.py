"""Plot of one scenario: a bar for each server, with the range over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.report import Result, cell
from benchmarks.scenarios import Scenario

WIDTH, NAMES, BARS, ROW, TOP = 760, 230, 360, 26, 54
"""Pixels: the whole width, the names, the longest bar, the height of a row, the space above the first row."""

OWN, OTHER, RANGE = "#4f94f7", "#b7bdc8", "#24292f"

STYLE = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.unit{fill:#57606a}"


def svg(scenario: Scenario, found: Sequence[Result]) -> str:
    """Return the plot as SVG."""
    longest = max((result.highest for result in found), default=0) or 1
    scale = BARS / longest
    unit = f"{scenario.unit}, median and range, less is better"
    for result in found:
        if result.peer.key == scenario.reference:
            unit += f"; in brackets the ratio to {result.peer.title}"
    height = TOP + ROW * len(found) + 12
    rows = (_row(result, TOP + ROW * place, scale) for place, result in enumerate(found))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(scenario.title)}</title><style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#fff"/>',
            f'<text class="title" x="14" y="24">{escape(scenario.title)}</text>',
            f'<text class="unit" x="14" y="42">{escape(unit)}</text>',
            *rows,
            "</svg>",
            "",
        ]
    )


def _row(result: Result, top: int, scale: float) -> str:
    colour = OWN if result.peer.key.startswith("sockd") else OTHER
    low, end, high = (
        NAMES + max(0.0, value) * scale for value in (result.lowest, result.cost, result.highest)
    )
    middle = top + ROW / 2
    spread = f"M{low:.1f} {middle - 4}v8m0-4H{high:.1f}m0-4v8"
    drawn = f'<path d="{spread}" fill="none" stroke="{RANGE}" stroke-width="1.5"/>' if high > low else ""
    return (
        f'<text x="{NAMES - 8}" y="{middle + 4}" text-anchor="end">{escape(result.peer.title)}</text>'
        f'<rect x="{NAMES}" y="{top + 4}" width="{end - NAMES:.1f}" height="{ROW - 8}" fill="{colour}"/>'
        f"{drawn}"
        f'<text x="{max(end, high) + 8:.1f}" y="{middle + 4}">{cell(result)}</text>'
    )
