"""Limits as an operator writes them on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sockd.config import Document, Limits, Text
from sockd.config.document import Faults
from sockd.config.network_sets import Networks
from sockd.config.validate import validate
from sockd.control.words import Code, Refused

_NETWORKS = frozenset(key for key, field in Limits.model_fields.items() if field.annotation is Networks)
"""Limits that are arrays in the file; on a command line their entries stand between commas or blanks."""


def limit_of(key: str, value: str) -> Limits:
    """Return limits of which one is given, by the text that would stand in [limits].

    Args:
        key: the limit's.
        value: its text.

    Raises:
        Refused: there is no such limit, or it does not take the value.
    """
    written: Any = (
        [Text(word) for word in value.replace(",", " ").split()] if key in _NETWORKS else Text(value)
    )
    document = Document("", "", {"limits": {key: written}}, {}, Path.cwd())
    faults = Faults()
    limit = validate(Limits, document, ("limits",), faults)
    if limit is None or faults:
        [fault, *_] = faults.error().faults
        hint = f"; did you mean '{fault.nearest}'?" if fault.nearest else ""
        raise Refused(f"{fault.message.removeprefix('limits.')}{hint}", code=Code.INVALID_ARGUMENT)
    return limit
