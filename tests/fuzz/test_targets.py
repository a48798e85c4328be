from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TARGETS = sorted({"configuration", "datagrams", "framing", "irc", "proxy", "websocket"})


@pytest.mark.parametrize("target", TARGETS)
def test_a_second_of_fuzzing_finds_nothing(target: str) -> None:
    script = Path(__file__).parent / f"{target}.py"
    done = subprocess.run(
        [sys.executable, script, "1"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " executions in " in done.stdout
