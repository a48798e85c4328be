"""Comparison of receivers of files: each figure comes from a real receiver."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.machine import cores
from benchmarks.uploads.__main__ import table
from benchmarks.uploads.measure import Sample, measure
from benchmarks.uploads.receivers import RECEIVERS
from benchmarks.uploads.slow import BOUND, cost

MIB = 1 << 20
BY_KEY = {receiver.key: receiver for receiver in RECEIVERS}


@pytest.mark.parametrize("key", ["sockd-upload", "sockd-http", "ncat", "nginx"])
def test_a_file_is_received_and_its_cost_is_measured(key: str, tmp_path: Path) -> None:
    receiver = BY_KEY[key]
    if reason := receiver.absent():
        pytest.skip(reason)
    file = tmp_path / "f.bin"
    file.write_bytes(bytes(MIB))
    sample = measure(receiver, file, tmp_path / "own", cores())
    assert sample.size == MIB
    assert sample.seconds > 0
    assert sample.cpu >= 0


def test_a_slow_sender_costs_little_memory(tmp_path: Path) -> None:
    """Few senders share what the process needs once, so the bound is three times as large here."""
    assert cost(BY_KEY["sockd-upload"], tmp_path / "own", 100) < 3 * BOUND


def test_the_table_has_medians_the_cheapest_receiver_first() -> None:
    samples = {
        "ncat": [Sample(10**9, 2.0, 3.0), Sample(10**9, 4.0, 1.0), Sample(10**9, 1.0, 2.0)],
        "socat": [],
        "nginx": [Sample(10**9, 1.0, 1.0)],
    }
    assert table(samples).splitlines()[2:] == [
        "| nginx PUT | 1.00 | 1000 |",
        "| ncat into a file | 2.00 | 500 |",
    ]
