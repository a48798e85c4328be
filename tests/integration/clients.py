"""Clients that npm and PyPI have. `.ci/run` installs them beside the project; a missing one is a skip."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

_CLIENTS = Path(__file__).parents[2] / ".clients"


def node_modules(*names: str) -> tuple[str, Path]:
    """Return Node, and the folder of its modules."""
    node = shutil.which("node")
    modules = _CLIENTS / "node_modules"
    missing = [name for name in names if not (modules / name).exists()]
    if node is None or missing:
        pytest.skip(f"not installed: {', '.join(missing) or 'Node'} (see .ci/run)")
    return node, modules


def python_packages(*names: str) -> Path:
    """Return the folder of packages from PyPI."""
    packages = _CLIENTS / "python"
    if missing := [name for name in names if not (packages / name).exists()]:
        pytest.skip(f"not installed: {', '.join(missing)} (see .ci/run)")
    return packages
