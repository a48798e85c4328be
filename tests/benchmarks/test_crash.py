"""Short form of the crash table, and its judgement."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.crash import table, verdict
from benchmarks.crash.sending import Sending
from benchmarks.crash.trial import Outcome

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0

DATA = b"some bytes"


def crash(*words: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc here for the library that is preloaded")
    command = [sys.executable, "-m", "benchmarks.crash", "--quick", "--seed", "1", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.long
def test_what_a_sender_was_told_is_true_after_a_crash_at_any_call() -> None:
    done = crash("--only", "keep", "--fault", "kill", "--fault", "eio", "--fault", "cut")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_same_command_finds_what_is_lost_without_synchronizations() -> None:
    if os.geteuid():
        pytest.skip("cutting the power of a disk needs root")
    done = crash("--only", "keep", "--fault", "cut", "--without-syncs")
    if "not tried: power cuts" in done.stdout:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 1
    assert "was told, and" in done.stdout or "is lost" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def received(tmp_path: Path) -> Path:
    (tmp_path / verdict.PARTS).mkdir()
    (tmp_path / "a").write_bytes(DATA)
    return tmp_path


def test_a_folder_with_what_was_acknowledged_is_right(received: Path) -> None:
    assert list(verdict.faults(received, [Sending("a", DATA, stored="a")])) == []
    assert list(verdict.faults(received, [Sending("a", DATA)])) == [], "whole, though not acknowledged yet"


@pytest.mark.parametrize(
    ("sending", "fault"),
    [
        (Sending("a", DATA + b"more", stored=""), "a (10 bytes) is not whole"),
        (Sending("a", DATA, stored="b"), "b was acknowledged and is lost"),
    ],
)
def test_a_file_that_is_lost_or_not_whole_is_told(received: Path, sending: Sending, fault: str) -> None:
    assert list(verdict.faults(received, [sending])) == [fault]


def test_parts_are_what_uploads_have_left(received: Path) -> None:
    for name in (*verdict.NOTES, "0123456789abcdef.state"):
        (received / verdict.PARTS / name).touch()
    assert verdict.parts(received) == ["0123456789abcdef.state"]


def test_the_table_has_the_trials_that_stood_and_the_list_the_others() -> None:
    results = {"keep": {"kill": [Outcome(), Outcome(at="call 3 (link)", faults=["lost", "lost"])]}, "raw": {}}
    assert table.markdown(results).splitlines()[2:] == ["| keep | 1 of 2 |", "| raw | - |"]
    assert table.broken(results) == ["keep, kill, call 3 (link): lost"]


def test_the_results_are_written_into_their_section_of_a_page() -> None:
    page = "# Page\n\nText.\n\n## Results\n\nold\n\n## More\n\nEnd.\n"
    assert table.with_results(page, "new") == "# Page\n\nText.\n\n## Results\n\nnew\n\n## More\n\nEnd.\n"
