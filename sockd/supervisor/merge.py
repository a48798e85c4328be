"""Services of several processes as one: counts are summed, what all share is taken once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

from sockd.telemetry.snapshot import ListenerRow, ProcessSnapshot, ServiceRow

_SUMMED = ("connections", "handshakes", "received", "sent", "datagrams_received", "datagrams_sent")
"""Keys of a service whose values are added."""

_SHARED: Sequence[Literal["queue", "backlog", "drops", "certificate_expires"]] = (
    "queue",
    "backlog",
    "drops",
    "certificate_expires",
)
"""Keys of a listener whose largest value counts: every worker sees the same socket."""


def merge_services(services: Iterable[ServiceRow]) -> list[ServiceRow]:
    """Merge the services of several processes; those of the same name become one."""
    by_name: dict[str, list[ServiceRow]] = {}
    for service in services:
        by_name.setdefault(service["name"], []).append(service)
    return [_merge_parts(parts) for parts in by_name.values()]


def _merge_parts(parts: Sequence[ServiceRow]) -> ServiceRow:
    counts: Counter[tuple[str, str]] = Counter()
    for part in parts:
        for event, reason, count in part["counts"]:
            counts[event, reason] += count
    durations = [part["durations"] for part in parts]
    merged = {
        **parts[0],
        # A worker of an earlier version does not tell all of them.
        **{key: sum(cast("int", part.get(key, 0)) for part in parts) for key in _SUMMED},
        "state": _merge_states([part["state"] for part in parts]),
        "counts": [[event, reason, count] for (event, reason), count in sorted(counts.items())],
        "durations": {
            "bounds": durations[0]["bounds"],
            "counts": [sum(each) for each in zip(*(part["counts"] for part in durations), strict=True)],
            "sum": sum(part["sum"] for part in durations),
        },
        "listeners": _merge_listeners(listener for part in parts for listener in part["listeners"]),
    }
    return cast("ServiceRow", merged)


def _merge_listeners(listeners: Iterable[ListenerRow]) -> list[ListenerRow]:
    merged: dict[str, Any] = {}
    for listener in listeners:
        known = merged.setdefault(listener["address"], dict(listener))
        for key in _SHARED:
            values = [value for value in (known[key], listener[key]) if value is not None]
            known[key] = max(values, default=None)
    return list(merged.values())


def _merge_states(states: Sequence[str]) -> str:
    """Return the state of a service over all workers: it is open as long as one of them accepts."""
    return next(state for state in ("open", "paused", "draining", "gone") if state in states)


def what_remains(snapshot: ProcessSnapshot) -> list[ServiceRow]:
    """Return the services of a process that is gone with their counts, so that no count goes back."""
    return [
        {**service, "connections": 0, "handshakes": 0, "state": "gone", "listeners": []}
        for service in snapshot["services"]
    ]
