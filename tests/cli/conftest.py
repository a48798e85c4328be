"""Control socket in a process of its own, without a daemon behind it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sockd.cli import main

SERVING = Path(__file__).parents[1] / "control" / "serving.py"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run a command of `sockd` with a configuration whose control socket is served."""
    path = tmp_path / "run" / "control.sock"
    (tmp_path / "sockd.toml").write_text('[control]\nlisten = "unix:run/control.sock"\n[faulty]\n')
    process = subprocess.Popen(
        [sys.executable, SERVING, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        def run_one(command: str, *words: str) -> Result:
            return CliRunner().invoke(main, [command, "-c", str(tmp_path / "sockd.toml"), *words])

        yield run_one
        process.communicate("")
    assert process.returncode == 0
