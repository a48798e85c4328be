"""Metrics of a snapshot in the text format of Prometheus.

No label holds a value that a peer can choose. With workers, a family `sockd_…` holds the totals of all
workers, and `sockd_worker_…` with the label `worker` holds each worker: in one family every sum would count
them twice.
`docs/events.md` is generated from `FAMILIES`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector
from typing_extensions import override

from sockd.config.limits import SCOPES
from sockd.telemetry import catalogue
from sockd.telemetry.snapshot import Durations, ListenerRow, ProcessSnapshot, ServiceRow, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of the result of `exposition`."""

Merge = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Family:
    """Metric family.

    Attributes:
        kind: type, in the words of Prometheus.
        help: description in the exposition.
        labels: names of the labels.
        merge: merges two samples with the same labels, as while a service drains beside its new instance.
        note: more for the reference.
    """

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = operator.add
    note: str = ""


_SERVICE = ("service",)
_LISTENER = ("service", "listener")

FAMILIES: Mapping[str, Family] = {
    "build_info": Family(
        "gauge", "Always 1; the labels tell the version and the reactor.", ("version", "reactor"), max
    ),
    "start_time_seconds": Family("gauge", "When the daemon started, in seconds since 1970.", (), max),
    "ready": Family("gauge", "1 while it serves, 0 while it starts or stops, or no worker serves.", (), min),
    "config_ok": Family(
        "gauge", "1 if the configuration read last is in force, 0 if it is not served.", (), min
    ),
    "broker_connected": Family(
        "gauge",
        "1 while the broker stores and delivers, 0 while it is away.",
        (),
        min,
        "Only where servers are configured.",
    ),
    "reactor_delay_seconds": Family("gauge", "How late the reactor's timers are.", (), max),
    "descriptors_used": Family("gauge", "File descriptors that are open."),
    "descriptors_limit": Family("gauge", "File descriptors that may be open."),
    "timers": Family(
        "gauge",
        "Calls that wait for their time in the reactor.",
        note="A plugin that leaves more and more timers behind shows here.",
    ),
    "log_lines_dropped": Family(
        "counter",
        "Lines of the log that found no room.",
        note="The disk or the reader of the log is too slow.",
    ),
    "service_open": Family(
        "gauge", "1 while the service accepts peers, 0 while it is paused or drains.", _SERVICE, max
    ),
    "connections": Family("gauge", "Connections that are open or on their way in.", _SERVICE),
    "connections_limit": Family(
        "gauge", "Connections that the service may have (max_connections).", _SERVICE, max
    ),
    "connections_opened": Family("counter", "Connections that were handed to the plugin.", _SERVICE),
    "connections_closed": Family("counter", "Connections that have ended, by reason.", (*_SERVICE, "reason")),
    "connections_refused": Family(
        "counter", "Connections that the plugin never saw, by reason.", (*_SERVICE, "reason")
    ),
    "connection_duration_seconds": Family(
        "histogram", "How long connections were open that have ended.", _SERVICE
    ),
    "received_bytes": Family(
        "counter",
        "Bytes that peers have sent.",
        _SERVICE,
        note="Over connections as the kernel counts them, and in datagrams.",
    ),
    "sent_bytes": Family(
        "counter", "Bytes that peers were sent.", _SERVICE, note="Counted as received bytes are."
    ),
    "datagrams_received": Family("counter", "Datagrams that were handed to the plugin.", _SERVICE),
    "datagrams_sent": Family("counter", "Datagrams that the plugin has sent.", _SERVICE),
    "datagrams_dropped": Family(
        "counter", "Datagrams not delivered or not sent, by reason.", (*_SERVICE, "reason")
    ),
    "datagrams_dropped_by_kernel": Family(
        "counter", "Datagrams that found the socket's buffer full.", _LISTENER
    ),
    "plugin_faults": Family(
        "counter", "Exceptions that the plugin has raised, by callback.", (*_SERVICE, "callback")
    ),
    "log_events_held": Family(
        "counter",
        "Events of the plugin that were counted instead of written.",
        (*_SERVICE, "event"),
    ),
    "tls_handshakes": Family("counter", "TLS handshakes, by result.", (*_SERVICE, "result")),
    "tls_handshakes_unfinished": Family("gauge", "TLS handshakes that are under way.", _SERVICE),
    "certificate_expires_timestamp_seconds": Family(
        "gauge", "When the listener's first certificate expires, in seconds since 1970.", _LISTENER, min
    ),
    "certificate_faults": Family(
        "counter", "Changed files of certificates that could not be used.", _LISTENER
    ),
    "listener_queue": Family("gauge", "Connections that wait to be accepted.", _LISTENER, max),
    "listener_backlog": Family("gauge", "Connections that may wait to be accepted.", _LISTENER, max),
}
"""Families by name, without the prefix `sockd_` and without the suffix `_total` of counters."""

_LIMITS: Mapping[str, str] = {key: scope.metric for key, scope in SCOPES.items() if scope.metric}
"""The family that shows a limit, by the limit's key."""

_COUNTED: Mapping[str, tuple[str, str]] = {
    "opened": ("connections_opened", ""),
    "closed": ("connections_closed", "reason"),
    catalogue.REFUSED.name: ("connections_refused", "reason"),
    catalogue.DROPPED.name: ("datagrams_dropped", "reason"),
    catalogue.PLUGIN_FAULT.name: ("plugin_faults", "callback"),
    "handshake": ("tls_handshakes", "result"),
    catalogue.CERTIFICATES_FAULTY.name: ("certificate_faults", "listener"),
    "log event held": ("log_events_held", "event"),
}
"""Families that count events, by the name of the count, with the label that holds the reason."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Sample of a family."""

    family: str
    value: float | None
    labels: Mapping[str, str]
    suffix: str = ""


def exposition(snapshot: Snapshot) -> bytes:
    """Return the snapshot in the text format of Prometheus."""
    return generate_latest(_Snapshot(snapshot))


def metric_names() -> Iterator[str]:
    """Yield the names of all samples, as a query has them, without those of single workers."""
    for name, family in FAMILIES.items():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.kind, [""])
        yield from (f"sockd_{name}{suffix}" for suffix in suffixes)


class _Snapshot(Collector):
    """Collector of one snapshot for prometheus_client. Each answer has a collector; none is registered."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @override
    def collect(self) -> Iterator[Metric]:
        yield from _metrics("sockd", _process(self._snapshot, {}))
        workers = [
            sample
            for worker in self._snapshot.get("workers", ())
            for sample in _process(worker, {"worker": str(worker["worker"])})
        ]
        if workers:
            yield from _metrics("sockd_worker", workers)


def _metrics(prefix: str, samples: Iterable[Sample]) -> Iterator[Metric]:
    """Yield the families; samples with the same labels are merged."""
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for sample in samples:
        if sample.value is not None:
            merged = values.setdefault(sample.family, {})
            key = sample.suffix, tuple(sample.labels.items())
            merge = FAMILIES[sample.family].merge
            merged[key] = merge(merged[key], sample.value) if key in merged else sample.value
    for name, family in FAMILIES.items():
        if name in values:
            metric = Metric(f"{prefix}_{name}", family.help, family.kind)
            for (suffix, labels), value in values[name].items():
                ending = "_total" if family.kind == "counter" else suffix
                metric.add_sample(metric.name + ending, dict(labels), value)
            yield metric


def _process(snapshot: ProcessSnapshot, labels: Mapping[str, str]) -> Iterator[Sample]:
    """Yield the samples of a process, or of all workers together."""
    about = {"version": snapshot.get("version", ""), "reactor": snapshot.get("reactor", "")}
    yield Sample("build_info", 1, {**labels, **about})
    yield Sample("start_time_seconds", snapshot.get("started"), labels)
    yield Sample("ready", snapshot["state"] == "ready", labels)
    yield Sample("config_ok", snapshot.get("config_ok"), labels)
    if (broker := snapshot.get("broker")) is not None:
        yield Sample("broker_connected", broker["state"] == "connected", labels)
    yield Sample("reactor_delay_seconds", snapshot.get("reactor_delay"), labels)
    descriptors = snapshot.get("descriptors", {})
    yield Sample("descriptors_used", descriptors.get("used"), labels)
    yield Sample("descriptors_limit", descriptors.get("limit"), labels)
    yield Sample("timers", snapshot.get("timers"), labels)
    yield Sample("log_lines_dropped", snapshot.get("log_dropped"), labels)
    for service in snapshot.get("services", ()):
        yield from _service(service, {**labels, "service": service["name"]})


def _service(service: ServiceRow, labels: Mapping[str, str]) -> Iterator[Sample]:
    yield Sample("service_open", service["state"] == "open", labels)
    yield Sample("connections", service["connections"], labels)
    for key, family in _LIMITS.items():
        yield Sample(family, service["limits"].get(key), labels)
    yield Sample("tls_handshakes_unfinished", service["handshakes"], labels)
    yield Sample("received_bytes", service["received"], labels)
    yield Sample("sent_bytes", service["sent"], labels)
    yield Sample("datagrams_received", service["datagrams_received"], labels)
    yield Sample("datagrams_sent", service["datagrams_sent"], labels)
    yield Sample("connections_opened", 0, labels)  # present from the start, so that a rate sees the first one
    for event, reason, count in service["counts"]:
        if event in _COUNTED:
            family, label = _COUNTED[event]
            yield Sample(family, count, {**labels, label: _told(event, reason)} if label else labels)
    yield from _durations(service["durations"], labels)
    for listener in service["listeners"]:
        yield from _listener(listener, {**labels, "listener": listener["address"]})


def _told(event: str, reason: str) -> str:
    """Return the reason as a label. For a fault of a plugin it is the callback: lines are too many."""
    if event == catalogue.PLUGIN_FAULT.name:
        return reason.partition(" ")[0]
    return reason or "completed"


def _durations(durations: Durations, labels: Mapping[str, str]) -> Iterator[Sample]:
    """Yield the histogram of durations; each bucket counts all durations below its bound."""
    name, below = "connection_duration_seconds", 0
    for bound, count in zip([*durations["bounds"], "+Inf"], durations["counts"], strict=True):
        below += count
        yield Sample(name, below, {**labels, "le": str(bound)}, "_bucket")
    yield Sample(name, durations["sum"], labels, "_sum")
    yield Sample(name, below, labels, "_count")


def _listener(listener: ListenerRow, labels: Mapping[str, str]) -> Iterator[Sample]:
    yield Sample("listener_queue", listener["queue"], labels)
    yield Sample("listener_backlog", listener["backlog"], labels)
    yield Sample("datagrams_dropped_by_kernel", listener["drops"], labels)
    yield Sample("certificate_expires_timestamp_seconds", listener["certificate_expires"], labels)
