"""Scope of a limit: the facts that its type does not tell, in the place where the limit is declared.

Worker shares, metrics and the table of docs/limits.md follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from sockd.endpoint import Transport

Workers = Literal["shared", "divided", "own"]
"""Way in which several workers keep a limit: counted together in shared memory, divided into parts, or each
worker by its own count."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Scope of a limit.

    Attributes:
        of: what it bounds: the whole service, each source, each connection or each datagram.
        over: the transport that it is for; None for both.
        workers: how several workers keep it; None where what it bounds is in one worker anyway.
        metric: the family of metrics that shows it, without `sockd_`; empty for none.
    """

    of: Literal["service", "source", "connection", "datagram"]
    over: Transport | None = None
    workers: Workers | None = None
    metric: str = ""


def scopes(model: type[BaseModel]) -> Mapping[str, Scope]:
    """Return the scope of each key of a model that declares one."""
    return {
        key: scope
        for key, field in model.model_fields.items()
        for scope in field.metadata
        if isinstance(scope, Scope)
    }
