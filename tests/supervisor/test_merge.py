"""One snapshot of many."""

from __future__ import annotations

from typing import Any, cast

from sockd.supervisor.merge import merge_services, what_remains
from sockd.telemetry.snapshot import ProcessSnapshot


def service(**fields: Any) -> Any:
    listener = {
        "address": "tcp:127.0.0.1:7",
        "queue": 3,
        "backlog": 10,
        "drops": None,
        "certificate_expires": None,
    }
    return {
        "name": "echo",
        "state": "open",
        "connections": 2,
        "handshakes": 1,
        "received": 10,
        "sent": 20,
        "counts": [["closed", "idle", 1], ["opened", "", 3]],
        "durations": {"bounds": [1.0], "counts": [1, 2], "sum": 1.5},
        "listeners": [listener],
        **fields,
    }


def test_numbers_are_summed_and_a_shared_socket_is_counted_once() -> None:
    [merged] = merge_services([service(), service(counts=[["opened", "", 4]])])
    assert (merged["connections"], merged["handshakes"], merged["received"], merged["sent"]) == (4, 2, 20, 40)
    assert merged["counts"] == [["closed", "idle", 1], ["opened", "", 7]]
    assert merged["durations"] == {"bounds": [1.0], "counts": [2, 4], "sum": 3.0}
    assert [listener["queue"] for listener in merged["listeners"]] == [3]


def test_datagrams_are_summed_with_those_of_a_worker_of_former_code_that_counts_none() -> None:
    [merged] = merge_services([service(datagrams_received=3, datagrams_sent=2), service()])
    assert (merged["datagrams_received"], merged["datagrams_sent"]) == (3, 2)


def test_a_service_is_open_as_long_as_one_worker_serves_it() -> None:
    [merged] = merge_services([service(state="draining"), service(state="open")])
    assert merged["state"] == "open"
    [merged] = merge_services([service(state="paused"), service(state="paused")])
    assert merged["state"] == "paused"


def test_what_a_worker_counted_stays_when_it_is_gone() -> None:
    past = merge_services(what_remains(cast("ProcessSnapshot", {"services": [service()]})))
    [merged] = merge_services([service(), *past])
    assert (merged["connections"], merged["received"]) == (2, 20)
    assert merged["counts"] == [["closed", "idle", 2], ["opened", "", 6]]
    assert len(merged["listeners"]) == 1
