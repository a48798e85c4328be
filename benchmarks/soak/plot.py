"""Plot of a soak: memory, descriptors, connections and delay over the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.plots import OWN, STYLE
from benchmarks.soak.verdict import WARMING, Look, at_one_age, slope

WIDTH, LEFT, RIGHT, TOP = 760, 70, 20, 54
"""Pixels: the whole width, the space beside the curves, and above them."""

HEIGHT, GAP = 90, 34
"""Pixels: the height of a curve, and the gap between two."""

GRID = "#d0d7de"


@dataclass(frozen=True, slots=True)
class _Curve:
    """Curve of one figure over the time, drawn from zero."""

    title: str
    value: Callable[[Look], float]
    digits: int = 0


_FIRST = _Curve("private memory of the first process, MB", lambda look: look.first / 1000, 1)

_CURVES = (
    _Curve("private memory, MB", lambda look: look.private / 1000, 1),
    _FIRST,
    _Curve("descriptors", lambda look: look.descriptors),
    _Curve("timers", lambda look: look.timers),
    _Curve("connections", lambda look: look.connections),
    _Curve("delay of the reactor, ms", lambda look: look.delay * 1000, 1),
)


def svg(looks: Sequence[Look], title: str) -> str:
    """Return the plot as SVG."""
    alone = all(look.first == look.private for look in looks)
    curves = [curve for curve in _CURVES if not (alone and curve is _FIRST)]
    height = TOP + len(curves) * (HEIGHT + GAP) + 10
    minutes = looks[-1].seconds / 60
    unit = f"{minutes:.0f} minutes; memory over the second half: {slope(at_one_age(looks)):+.1f} KB a minute"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title><style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#fff"/>',
            f'<text class="title" x="14" y="24">{escape(title)}</text>',
            f'<text class="unit" x="14" y="42">{escape(unit)}</text>',
            *(_drawn(curve, looks, TOP + place * (HEIGHT + GAP)) for place, curve in enumerate(curves)),
            "</svg>",
            "",
        ]
    )


def _drawn(curve: _Curve, looks: Sequence[Look], top: int) -> str:
    values = [curve.value(look) for look in looks]
    most, end, floor = max(values) or 1, looks[-1].seconds or 1, top + 20 + HEIGHT
    across = (WIDTH - LEFT - RIGHT) / end
    points = " ".join(
        f"{LEFT + look.seconds * across:.1f},{floor - value / most * HEIGHT:.1f}"
        for look, value in zip(looks, values, strict=True)
    )
    warm = LEFT + WARMING * end * across
    return (
        f'<text x="{LEFT}" y="{top + 14}">{escape(curve.title)}</text>'
        f'<path d="M{LEFT} {floor}H{WIDTH - RIGHT}M{LEFT} {floor - HEIGHT}H{WIDTH - RIGHT}" stroke="{GRID}"/>'
        f'<path d="M{warm:.1f} {floor - HEIGHT}V{floor}" stroke="{GRID}" stroke-dasharray="3 3"/>'
        f'<text class="unit" x="{LEFT - 8}" y="{floor - HEIGHT + 5}" text-anchor="end">'
        f"{most:.{curve.digits}f}</text>"
        f'<text class="unit" x="{LEFT - 8}" y="{floor + 5}" text-anchor="end">0</text>'
        f'<polyline points="{points}" fill="none" stroke="{OWN}" stroke-width="1.5"/>'
    )
