from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.machine import cores
from benchmarks.zoo import table
from benchmarks.zoo.__main__ import plan
from benchmarks.zoo.attack import BEASTS
from benchmarks.zoo.client import Felt
from benchmarks.zoo.servers import left_open
from benchmarks.zoo.size import Size
from benchmarks.zoo.trial import REFILLED, Trial, absent, attempt
from benchmarks.zoo.verdict import MEMORY, UNFELT, faults

WELL = Felt(p50=0.001, p99=0.002, answers=100, lost=0, newcomers=2, served=2)
SMALL = Size(resident=50_000_000, descriptors=20)
STOOD = Trial("dribbler", "echo", "sockd", WELL, WELL, SMALL, SMALL, SMALL, REFILLED, 0)

SHORT = 0.5
"""Seconds of an attack: enough for its beginning, and for leaks."""


@pytest.mark.parametrize("beast", ["dribbler", "non-reader", "half-open", "reset", "storm", "bad-headers"])
def test_a_bad_peer_leaves_nothing_behind_and_costs_nobody_else_the_connection(beast: str) -> None:
    """Times are not checked, because they depend on the machine."""
    kind = BEASTS[beast].kinds[-1]
    if reason := absent(beast, kind, "sockd"):
        pytest.skip(reason)
    trial = attempt(beast, kind, "sockd", SHORT, cores())
    assert trial.worst.descriptors >= trial.before.descriptors
    assert [fault for fault in faults(trial) if not fault.startswith(("p99", "newcomers"))] == []


def test_a_server_that_a_good_peer_does_not_feel_the_attack_on_has_stood_it() -> None:
    assert list(faults(STOOD)) == []


@pytest.mark.parametrize(
    ("trial", "fault"),
    [
        (replace(STOOD, attacked=replace(WELL, p99=UNFELT + 0.001)), "p99"),
        (replace(STOOD, attacked=replace(WELL, lost=1)), "lost its connection"),
        (replace(STOOD, attacked=replace(WELL, served=1)), "newcomers"),
        (replace(STOOD, worst=Size(SMALL.resident + MEMORY + 1, 20)), "memory"),
        (replace(STOOD, after=Size(SMALL.resident, 21)), "descriptors: 1 more"),
        (replace(STOOD, refilled=REFILLED - 1), "places"),
        (replace(STOOD, left_open=1), "still counted 1"),
        (replace(STOOD, left_open=None), "did not end in order"),
    ],
)
def test_each_bound_that_is_broken_is_told(trial: Trial, fault: str) -> None:
    (told,) = faults(trial)
    assert fault in told
    assert table.markdown([trial]).splitlines()[-1].endswith("| no |")


def test_a_slow_server_may_become_twice_as_slow() -> None:
    slow = replace(WELL, p99=1.0)
    assert list(faults(replace(STOOD, calm=slow, attacked=replace(slow, p99=1.9)))) == []
    assert len(list(faults(replace(STOOD, calm=slow, attacked=replace(slow, p99=2.1))))) == 1


def test_connections_left_open_are_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(json.dumps({"event": "stopping", "connections": 2}) + "\n")
    assert left_open(log) is None
    log.write_text(log.read_text() + json.dumps({"event": "stopped", "cut": 2}) + "\n")
    assert left_open(log) == 2


def test_the_quick_form_sets_each_bad_peer_on_one_service() -> None:
    chosen = plan((), (), ("sockd",), quick=True)
    assert [beast for beast, _, _ in chosen] == list(BEASTS)


def test_only_root_can_vanish_without_a_packet() -> None:
    assert bool(absent("half-open", "echo", "sockd")) == (os.geteuid() != 0)
