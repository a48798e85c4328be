"""Numbers and tables of a daemon for a person."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import click

from sockd.telemetry.snapshot import ServiceRow
from sockd.text import printable

GAP = "  "


def size(count: float) -> str:
    """Format a number of bytes with at most four digits: `17`, `1.5K`, `120M`."""
    if count < 1000:
        return f"{count:.0f}"
    for unit in "KMGT":
        count /= 1024
        if count < 999.5:
            return f"{count:.1f}{unit}" if count < 99.95 else f"{count:.0f}{unit}"
    return f"{count / 1024:.1f}P"


def span(seconds: float) -> str:
    """Format seconds in their two largest units: `12s`, `3m 5s`, `4d 2h`."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def counted(service: ServiceRow, event: str) -> int:
    """Return how often an event of a service has happened, whatever its reason."""
    return sum(number for name, _, number in service["counts"] if name == event)


def places(taken: int, most: int | None) -> str:
    """Format a number and its limit: `12/10000`."""
    return str(taken) if most is None else f"{taken}/{most}"


def columns(head: Sequence[str], rows: Iterable[Sequence[object]], right: str = "") -> str:
    """Format rows under their heads as plain text; fast for many rows.

    Args:
        head: a word for each column.
        rows: their cells.
        right: a letter for each column, `r` for one that is aligned to the right.
    """
    return "\n".join(_lines([list(head), *([printable(str(cell)) for cell in row] for row in rows)], right))


@dataclass(frozen=True, slots=True)
class Row:
    """Cells of a line, and its colour if it has one."""

    cells: Sequence[object]
    color: str | None = None


def table(head: Sequence[str], rows: Sequence[Row], right: str = "", width: int | None = None) -> list[str]:
    """Format rows as lines for a terminal, each in its colour and at most `width` long; the head is dim."""
    plain = columns(head, (row.cells for row in rows), right).split("\n")
    return [
        click.style(line[:width], dim=True if row is None else None, fg=row.color if row else None)
        for line, row in zip(plain, [None, *rows], strict=True)
    ]


def show(*parts: Sequence[str]) -> None:
    """Print parts with an empty line between them, in colours unless NO_COLOR is set or no terminal reads."""
    colored = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    click.echo("\n\n".join("\n".join(part) for part in parts if part), color=colored)


def _lines(cells: Sequence[Sequence[str]], right: str) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = right.ljust(len(cells[0]))
    for row in cells:
        yield GAP.join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ).rstrip()
