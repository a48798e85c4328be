"""Metrics of a snapshot, and the pages and the dashboard that name them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from sockd.telemetry.metrics import FAMILIES, exposition, metric_names

ROOT = Path(__file__).parents[2]
SNAPSHOT: dict[str, Any] = json.loads((Path(__file__).parent / "snapshot.json").read_text())


def parsed(snapshot: Any) -> dict[str, Metric]:
    return {metric.name: metric for metric in text_string_to_metric_families(exposition(snapshot).decode())}


def values(snapshot: Any, name: str, **labels: str) -> list[float]:
    """Return the values of the samples with this name and these labels."""
    return [
        sample.value
        for metric in parsed(snapshot).values()
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def with_service(**changed: Any) -> dict[str, Any]:
    """Return the snapshot of a server with one service."""
    return SNAPSHOT | {"services": [SNAPSHOT["services"][0] | changed]}


def with_workers() -> dict[str, Any]:
    return SNAPSHOT | {"workers": [{**SNAPSHOT, "worker": number, "generation": 1} for number in range(2)]}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("snapshot", [SNAPSHOT, with_workers()])
def test_promtool_finds_no_fault(snapshot: Any) -> None:
    told = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(snapshot), capture_output=True, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


@pytest.mark.parametrize("snapshot", [SNAPSHOT, with_workers()])
def test_no_two_samples_have_one_name_and_the_same_labels(snapshot: Any) -> None:
    lines = [line.rpartition(" ")[0] for line in exposition(snapshot).decode().splitlines()]
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) == len(set(samples)) > 0


def test_every_family_has_its_type_and_its_help() -> None:
    told = {
        name: (metric.type, metric.documentation)
        for name, metric in parsed(with_certificate_faults()).items()
    }
    assert told == {f"sockd_{name}": (family.kind, family.help) for name, family in FAMILIES.items()}


def with_certificate_faults() -> dict[str, Any]:
    """Return a snapshot in which every counter has a sample."""
    counts = [["certificates faulty", "tcp:0.0.0.0:6697", 1], ["log event held", "file refused", 9]]
    return SNAPSHOT | {
        "services": [*SNAPSHOT["services"], with_service(name="x", counts=counts)["services"][0]]
    }


def test_every_sample_has_a_declared_name() -> None:
    found = {
        sample.name for metric in parsed(with_certificate_faults()).values() for sample in metric.samples
    }
    assert found == set(metric_names())


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("sockd_build_info", {"version": "1.0.0", "reactor": "UVReactor"}, 1),
        ("sockd_start_time_seconds", {}, 1795161600),
        ("sockd_ready", {}, 1),
        ("sockd_config_ok", {}, 1),
        ("sockd_reactor_delay_seconds", {}, 0.0004),
        ("sockd_descriptors_used", {}, 1266),
        ("sockd_timers", {}, 14),
        ("sockd_log_lines_dropped_total", {}, 0),
        ("sockd_connections", {"service": "chat"}, 812),
        ("sockd_connections_limit", {"service": "chat"}, 1000),
        ("sockd_connections_opened_total", {"service": "chat"}, 20838),
        ("sockd_connections_opened_total", {"service": "time"}, 0),
        ("sockd_connections_refused_total", {"service": "chat", "reason": "not tls"}, 4),
        ("sockd_connections_closed_total", {"service": "chat", "reason": "idle timeout"}, 1204),
        ("sockd_received_bytes_total", {"service": "echo"}, 918273645),
        ("sockd_datagrams_received_total", {"service": "time"}, 918),
        ("sockd_datagrams_sent_total", {"service": "chat"}, 4300),
        ("sockd_datagrams_dropped_total", {"service": "time", "reason": "reply not owed"}, 9),
        ("sockd_datagrams_dropped_by_kernel_total", {"listener": "udp:0.0.0.0:7007"}, 118),
        ("sockd_tls_handshakes_total", {"service": "chat", "result": "completed"}, 6120),
        ("sockd_tls_handshakes_unfinished", {"service": "chat"}, 2),
        ("sockd_certificate_expires_timestamp_seconds", {"listener": "tcp:0.0.0.0:6697"}, 1798012984),
        ("sockd_listener_queue", {"listener": "tcp:0.0.0.0:6697", "service": "chat"}, 3),
        ("sockd_service_open", {"service": "chat"}, 1),
        ("sockd_service_open", {"service": "files"}, 0),
    ],
)
def test_each_number_of_the_snapshot_is_a_sample(name: str, labels: dict[str, str], value: float) -> None:
    assert values(SNAPSHOT, name, **labels) == [value]


def test_unknown_numbers_of_a_snapshot_are_left_out() -> None:
    assert values(SNAPSHOT, "sockd_listener_queue", listener="unix:/run/sockd/echo.sock") == []
    assert values({"state": "starting"}, "sockd_ready") == [0]
    assert values({"state": "starting"}, "sockd_config_ok") == []


def test_faults_of_a_plugin_are_labelled_by_callback_only() -> None:
    faults = [["plugin fault", f"dataReceived Error{number} /x.py:{number}", 2] for number in range(100)]
    told = parsed(with_service(counts=faults))["sockd_plugin_faults"].samples
    assert [(sample.labels, sample.value) for sample in told] == [
        ({"service": "chat", "callback": "dataReceived"}, 200)
    ]


def test_each_bucket_of_a_histogram_includes_the_buckets_before_it() -> None:
    durations = {"bounds": [0.5, 10.0], "counts": [3, 2, 1], "sum": 99.5}
    snapshot, name = with_service(durations=durations), "sockd_connection_duration_seconds"
    assert [values(snapshot, f"{name}_bucket", le=bound) for bound in ("0.5", "10.0", "+Inf")] == [
        [3],
        [5],
        [6],
    ]
    assert values(snapshot, f"{name}_count") == [6]
    assert values(snapshot, f"{name}_sum") == [99.5]


def test_a_service_and_its_draining_instance_are_merged() -> None:
    old, new = with_service(state="draining"), with_service(connections=8)
    both = SNAPSHOT | {"services": [*old["services"], *new["services"]]}
    assert values(both, "sockd_connections") == [820]
    assert values(both, "sockd_service_open") == [1]
    assert values(both, "sockd_connections_limit") == [1000]
    assert values(both, "sockd_certificate_expires_timestamp_seconds") == [1798012984]


def test_metrics_of_a_worker_have_names_of_their_own() -> None:
    snapshot = with_workers()
    assert values(snapshot, "sockd_connections", service="chat") == [812]
    assert values(snapshot, "sockd_worker_connections", service="chat") == [812, 812]
    for name, metric in parsed(snapshot).items():
        labelled = [sample.labels.get("worker") for sample in metric.samples]
        assert set(labelled) == ({"0", "1"} if name.startswith("sockd_worker_") else {None})


@given(st.text())
def test_any_text_is_one_label_value(text: str) -> None:
    text = text.replace("\r", "")  # the parser, not the format, takes it for the end of a line
    assert values(with_service(name=text), "sockd_connections", service=text) == [812]


def named_in(text: str) -> Iterator[str]:
    """Yield the metrics that a text names, without the prefix of workers."""
    for name in re.findall(r"\bsockd_[a-z_]+[a-z]\b", text):
        yield name.replace("sockd_worker_", "sockd_")


def test_the_documentation_names_no_metric_that_does_not_exist() -> None:
    assert set(named_in((ROOT / "docs/operations-metrics.md").read_text())) <= set(metric_names())


def test_every_sample_has_the_labels_that_its_family_declares() -> None:
    for snapshot in (with_certificate_faults(), with_workers()):
        for name, metric in parsed(snapshot).items():
            own = {"worker"} if name.startswith("sockd_worker_") else set()
            family = FAMILIES[name.removeprefix("sockd_worker_").removeprefix("sockd_")]
            for sample in metric.samples:
                assert set(sample.labels) - own - {"le"} == set(family.labels), name


def test_the_dashboard_shows_every_metric_and_names_no_other() -> None:
    assert set(named_in((ROOT / "deploy/grafana.json").read_text())) == set(metric_names())


def test_the_dashboard_has_the_shape_that_grafana_reads() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana.json").read_text())
    panels = dashboard["panels"]
    assert dashboard["schemaVersion"] >= 39
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["type"] == "row" or panel["targets"] for panel in panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
