"""Control socket in a process of its own, without a daemon behind it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sockd.cli import main

SERVING = Path(__file__).parents[1] / "control" / "serving.py"

Run = Callable[..., Result]


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Serve the control socket of the configuration that is written into a folder."""
    path = folder / "run" / "control.sock"
    (folder / "sockd.toml").write_text('[control]\nlisten = "unix:run/control.sock"\n[faulty]\n')
    process = subprocess.Popen(
        [sys.executable, SERVING, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        process.communicate("")
    assert process.returncode == 0


def runner(folder: Path) -> Run:
    def run_one(command: str, *words: str) -> Result:
        return CliRunner().invoke(main, [command, "-c", str(folder / "sockd.toml"), *words])

    return run_one


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the folder of a configuration whose control socket is served for all tests of a module."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder):
        yield folder


@pytest.fixture
def run(served: Path) -> Run:
    """Run a command of `sockd` with that configuration."""
    return runner(served)


@pytest.fixture
def run_first(tmp_path: Path) -> Iterator[Run]:
    """Run a command with a control socket that was asked nothing before."""
    with serving(tmp_path):
        yield runner(tmp_path)
