"""One limit, as an operator writes it on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sockd.config import Document, Limits, Text
from sockd.config.document import Faults
from sockd.config.validate import validate
from sockd.control.words import Refused

_NETWORKS = ("allow", "deny")
"""Limits that are lists, in the file; here their entries stand between commas or blanks."""


def limit_of(key: str, value: str) -> Limits:
    """One limit from its text, as it would stand in [limits]."""
    written: Any = (
        [Text(word) for word in value.replace(",", " ").split()] if key in _NETWORKS else Text(value)
    )
    document = Document("", "", {"limits": {key: written}}, {}, Path.cwd())
    faults = Faults()
    limit = validate(Limits, document, ("limits",), faults)
    if limit is None or faults:
        [fault, *_] = faults.error().faults
        hint = f"; did you mean '{fault.nearest}'?" if fault.nearest else ""
        raise Refused(f"{fault.message.removeprefix('limits.')}{hint}")
    return limit
