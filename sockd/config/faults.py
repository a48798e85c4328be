"""Display of faults: for people with the line and a caret below it, for machines as a plain dict."""

from __future__ import annotations

import dataclasses
import textwrap
import unicodedata
from collections.abc import Iterable
from typing import Any

from sockd.errors import Fault
from sockd.text import is_seen

_WIDTH = 100
"""Columns of a shown line; with the line number before it, it fits into a terminal or wraps."""

_LEAD = 60
"""Columns shown before the caret of a line that is too long."""


def report(faults: Iterable[Fault]) -> str:
    """Return all faults, with a blank line between them."""
    return "\n\n".join(render(fault) for fault in faults)


def render(fault: Fault) -> str:
    """Return one fault for a person: place and message, the line, a caret, the valid words."""
    place = visible(fault.file) + (f":{fault.line}:{fault.column}" if fault.line else "")
    lines = [": ".join(part for part in (place, visible(fault.message)) if part)]
    hint = f"did you mean '{visible(fault.nearest)}'?" if fault.nearest else ""
    if fault.line:
        source, indent, width = _excerpt(fault)
        number = str(fault.line)
        lines.append(f"  {number} | {source}".rstrip())
        lines.append(f"  {' ' * len(number)} | {' ' * indent}{'^' * width} {hint}".rstrip())
    elif hint:
        lines.append(f"  {hint}")
    expected = visible(fault.expected)
    if expected and expected not in lines[0]:
        lines += textwrap.wrap(f"expected {expected}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def as_dict(fault: Fault) -> dict[str, Any]:
    """Return the fault for JSON."""
    return dataclasses.asdict(fault)


def visible(text: str) -> str:
    """Return the text with control characters and invisible ones written as escapes."""
    return "".join(
        character if is_seen(character) else character.encode("unicode_escape").decode() for character in text
    )


def _excerpt(fault: Fault) -> tuple[str, int, int]:
    """Return the shown line, and the columns before the caret and under it."""
    cells = ["    " if character == "\t" else visible(character) for character in fault.source]
    start = fault.column - fault.source_column
    end = start + fault.length
    before, marked, after = cells[:start], cells[start:end], cells[end:]
    if _columns(cells) > _WIDTH:
        if _columns(before) > _LEAD or fault.source_column > 1:
            before = ["…", *_fitting(before[::-1], _LEAD)[::-1]]
        seen = _fitting(marked, _WIDTH - _columns(before)) or marked[:1]
        marked, after = seen, marked[len(seen) :] + after
        room = _WIDTH - _columns(before) - _columns(marked)
        if _columns(after) > room:
            after = [*_fitting(after, room), "…"]
    return "".join([*before, *marked, *after]), _columns(before), max(1, _columns(marked))


def _fitting(cells: list[str], columns: int) -> list[str]:
    """Return as many cells as fit."""
    used = 0
    for count, cell in enumerate(cells):
        used += _columns([cell])
        if used > columns:
            return cells[:count]
    return cells


def _columns(cells: Iterable[str]) -> int:
    """Return the number of columns of a text in a terminal."""
    return sum(_character_columns(character) for cell in cells for character in cell)


def _character_columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0  # a combining mark
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
