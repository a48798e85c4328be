from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TRAPS = Path(__file__).with_name("traps.py")

NAMES = [
    node.name
    for node in ast.parse(TRAPS.read_text()).body
    if isinstance(node, ast.FunctionDef) and not node.args.args and node.name != "descriptors"
]


@pytest.mark.parametrize("name", NAMES)
def test_the_reactor_keeps_out_of_the_trap(name: str) -> None:
    pytest.importorskip("uvloop")
    root = TRAPS.parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(TRAPS), name],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert not run.stderr
