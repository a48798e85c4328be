"""A snapshot of the server as Prometheus reads it.

No label holds anything that a peer can choose. Where there are workers, each family without a prefix is of
all of them together and `sockd_worker_…`, with the label `worker`, of each: in one family they would be
counted twice by every sum.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector
from typing_extensions import override

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `exposition` gives."""

Merge = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics of one name.

    Attributes:
        kind: their type, in the words of Prometheus.
        help: what they tell.
        merge: makes one of two that have the same labels, as while a service drains for a new one.
    """

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    merge: Merge = operator.add


FAMILIES: Mapping[str, Family] = {
    "build_info": Family("gauge", "Always 1; the labels tell the version and the reactor.", max),
    "start_time_seconds": Family("gauge", "When the daemon started, in seconds since 1970.", max),
    "ready": Family("gauge", "1 while it serves, 0 while it starts or stops, or no worker serves.", min),
    "config_ok": Family("gauge", "1 if the configuration read last is in force, 0 if it is not served.", min),
    "reactor_delay_seconds": Family("gauge", "How late the reactor's timers are.", max),
    "descriptors_used": Family("gauge", "File descriptors that are open."),
    "descriptors_limit": Family("gauge", "File descriptors that may be open."),
    "timers": Family("gauge", "Calls that wait for their time in the reactor."),
    "log_lines_dropped": Family("counter", "Lines of the log that found no room."),
    "service_open": Family(
        "gauge", "1 while the service accepts peers, 0 while it is paused or drains.", max
    ),
    "connections": Family("gauge", "Connections that are open or on their way in."),
    "connections_limit": Family("gauge", "Connections that the service may have (max_connections).", max),
    "connections_opened": Family("counter", "Connections that were handed to the plugin."),
    "connections_closed": Family("counter", "Connections that have ended, by reason."),
    "connections_refused": Family("counter", "Connections that the plugin never saw, by reason."),
    "connection_duration_seconds": Family("histogram", "How long connections were open that have ended."),
    "received_bytes": Family("counter", "Bytes that peers have sent."),
    "sent_bytes": Family("counter", "Bytes that peers were sent."),
    "datagrams_received": Family("counter", "Datagrams that were handed to the plugin."),
    "datagrams_sent": Family("counter", "Datagrams that the plugin has sent."),
    "datagrams_dropped": Family("counter", "Datagrams not delivered or not sent, by reason."),
    "datagrams_dropped_by_kernel": Family("counter", "Datagrams that found the socket's buffer full."),
    "plugin_faults": Family("counter", "Exceptions that the plugin has raised, by callback."),
    "log_events_held": Family("counter", "Events of the plugin that were counted instead of written."),
    "tls_handshakes": Family("counter", "TLS handshakes, by result."),
    "tls_handshakes_unfinished": Family("gauge", "TLS handshakes that are under way."),
    "certificate_expires_timestamp_seconds": Family(
        "gauge", "When the listener's first certificate expires, in seconds since 1970.", min
    ),
    "certificate_faults": Family("counter", "Changed files of certificates that could not be used."),
    "listener_queue": Family("gauge", "Connections that wait to be accepted.", max),
    "listener_backlog": Family("gauge", "Connections that may wait to be accepted.", max),
}
"""Every family by its name without `sockd_`, and without the `_total` that counters end in."""

_COUNTED: Mapping[str, tuple[str, str]] = {
    "opened": ("connections_opened", ""),
    "closed": ("connections_closed", "reason"),
    "connection refused": ("connections_refused", "reason"),
    "datagram dropped": ("datagrams_dropped", "reason"),
    "plugin fault": ("plugin_faults", "callback"),
    "handshake": ("tls_handshakes", "result"),
    "certificates faulty": ("certificate_faults", "listener"),
    "log event held": ("log_events_held", "event"),
}
"""By the name of the event: the family that counts it, and the label that tells its reason."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a family."""

    family: str
    value: float | None
    labels: Mapping[str, str]
    suffix: str = ""


def exposition(snapshot: Mapping[str, Any]) -> bytes:
    """The snapshot in Prometheus' text format."""
    return generate_latest(_Snapshot(snapshot))


def metric_names() -> Iterator[str]:
    """The names that all metrics have without workers, as a query has them."""
    for name, family in FAMILIES.items():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.kind, [""])
        yield from (f"sockd_{name}{suffix}" for suffix in suffixes)


class _Snapshot(Collector):
    """What prometheus_client asks for its metrics; there is one for each answer, none is registered."""

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
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
    """The samples by family; of those with the same labels one is made."""
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


def _process(snapshot: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[Sample]:
    """The samples of a process, or of all workers together."""
    about = {"version": snapshot.get("version", ""), "reactor": snapshot.get("reactor", "")}
    yield Sample("build_info", 1, {**labels, **about})
    yield Sample("start_time_seconds", snapshot.get("started"), labels)
    yield Sample("ready", snapshot["state"] == "ready", labels)
    yield Sample("config_ok", snapshot.get("config_ok"), labels)
    yield Sample("reactor_delay_seconds", snapshot.get("reactor_delay"), labels)
    descriptors = snapshot.get("descriptors", {})
    yield Sample("descriptors_used", descriptors.get("used"), labels)
    yield Sample("descriptors_limit", descriptors.get("limit"), labels)
    yield Sample("timers", snapshot.get("timers"), labels)
    yield Sample("log_lines_dropped", snapshot.get("log_dropped"), labels)
    for service in snapshot.get("services", ()):
        yield from _service(service, {**labels, "service": service["name"]})


def _service(service: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[Sample]:
    yield Sample("service_open", service["state"] == "open", labels)
    yield Sample("connections", service["connections"], labels)
    yield Sample("connections_limit", service["limits"].get("max_connections"), labels)
    yield Sample("tls_handshakes_unfinished", service["handshakes"], labels)
    yield Sample("received_bytes", service["received"], labels)
    yield Sample("sent_bytes", service["sent"], labels)
    yield Sample("datagrams_received", service["datagrams_received"], labels)
    yield Sample("datagrams_sent", service["datagrams_sent"], labels)
    yield Sample(
        "connections_opened", 0, labels
    )  # there from the start, so that the first one shows as a rate
    for event, reason, count in service["counts"]:
        if event in _COUNTED:
            family, label = _COUNTED[event]
            yield Sample(family, count, {**labels, label: _told(event, reason)} if label else labels)
    yield from _durations(service["durations"], labels)
    for listener in service["listeners"]:
        yield from _listener(listener, {**labels, "listener": listener["address"]})


def _told(event: str, reason: str) -> str:
    """The reason as a label: of a plugin's fault the callback, as types and lines of code are too many."""
    if event == "plugin fault":
        return reason.partition(" ")[0]
    return reason or "completed"


def _durations(durations: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[Sample]:
    """A histogram; its buckets hold what is below their bound, and so each also what those before it do."""
    name, below = "connection_duration_seconds", 0
    for bound, count in zip([*durations["bounds"], "+Inf"], durations["counts"], strict=True):
        below += count
        yield Sample(name, below, {**labels, "le": str(bound)}, "_bucket")
    yield Sample(name, durations["sum"], labels, "_sum")
    yield Sample(name, below, labels, "_count")


def _listener(listener: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[Sample]:
    yield Sample("listener_queue", listener["queue"], labels)
    yield Sample("listener_backlog", listener["backlog"], labels)
    yield Sample("datagrams_dropped_by_kernel", listener["drops"], labels)
    yield Sample("certificate_expires_timestamp_seconds", listener["certificate_expires"], labels)
