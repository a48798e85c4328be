"""The suite itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

TWO_TESTS = """
import gc
import socket
import tempfile

def test_that_fails():
    left = socket.create_server(("127.0.0.1", 0))
    both_ways = [tempfile.TemporaryFile()]
    both_ways.append(both_ways)
    try:
        assert left is None
    except AssertionError as error:
        raise ValueError from error

def test_that_collects_garbage():
    gc.collect()
"""


def test_what_a_failing_test_leaves_open_fails_no_other(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_two.py").write_text(TWO_TESTS)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--rootdir", tmp_path, "-c", ROOT / "pyproject.toml"),
            *("-p", "no:randomly", "-p", "no:cacheprovider", tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "1 failed, 1 passed in" in run.stdout, run.stdout
