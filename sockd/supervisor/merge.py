"""One snapshot of many: counts are summed, and what describes something all share is taken once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Snapshot = Mapping[str, Any]

_SUMMED = ("connections", "handshakes", "received", "sent", "datagrams_received", "datagrams_sent")
_SHARED = ("queue", "backlog", "drops", "certificate_expires")
"""Of a listener: every worker sees the same socket."""

_BY_EVENT = ("counts", "received", "sent", "durations")
"""What stays of a service when its worker is gone, so that no count goes back."""


def merged_services(services: Iterable[Snapshot]) -> list[dict[str, Any]]:
    """The services of several processes, those of one name as one."""
    by_name: dict[str, list[Snapshot]] = {}
    for service in services:
        by_name.setdefault(service["name"], []).append(service)
    return [_service(parts) for parts in by_name.values()]


def _service(parts: Sequence[Snapshot]) -> dict[str, Any]:
    counts: Counter[tuple[str, str]] = Counter()
    for part in parts:
        for event, reason, count in part["counts"]:
            counts[event, reason] += count
    durations = [part["durations"] for part in parts]
    merged = {
        **parts[0],
        **{key: sum(part.get(key, 0) for part in parts) for key in _SUMMED},
        "state": _state([part["state"] for part in parts]),
        "counts": [[event, reason, count] for (event, reason), count in sorted(counts.items())],
        "durations": {
            "bounds": durations[0]["bounds"],
            "counts": [sum(each) for each in zip(*(part["counts"] for part in durations), strict=True)],
            "sum": sum(part["sum"] for part in durations),
        },
    }
    merged["listeners"] = _listeners(listener for part in parts for listener in part["listeners"])
    return merged


def _listeners(listeners: Iterable[Snapshot]) -> list[dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for listener in listeners:
        known = merged.setdefault(listener["address"], dict(listener))
        for key in _SHARED:
            known[key] = max((each[key] for each in (known, listener) if each[key] is not None), default=None)
    return list(merged.values())


def _state(states: Sequence[str]) -> str:
    """That of a service whose workers are not all of one mind: it serves as long as one of them does."""
    return next(state for state in ("open", "paused", "draining", "gone") if state in states)


def what_remains(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The services of a process that is gone: what they have counted."""
    return [
        {
            **service,
            "connections": 0,
            "handshakes": 0,
            "state": "gone",
            "listeners": [],
        }
        for service in snapshot["services"]
    ]
