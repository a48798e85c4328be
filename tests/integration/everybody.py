"""Interpreter that every user of the machine can start, for daemons that root starts for another user."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


def _is_for_all(path: str) -> bool:
    """Tell whether another user reaches a file or folder; only root enters its home folder."""
    whole = Path(path).resolve()
    return whole.exists() and all(folder.stat().st_mode & 0o001 for folder in whole.parents)


_PACKAGES = [path for path in sys.path if path and not path.startswith(sys.base_prefix)]
"""Folders of this environment besides the standard library."""

_CANDIDATES = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
"""Present interpreter, and that of the system, which can use the same packages."""

PYTHON = next((path for path in _CANDIDATES if _is_for_all(path)), "")

TWISTD = (PYTHON, "-P", "-c", "from twisted.scripts.twistd import run; run()")
"""Command `twistd` of that interpreter."""

ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(_PACKAGES)}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")
needs_interpreter = pytest.mark.skipif(
    not PYTHON or not all(map(_is_for_all, _PACKAGES)), reason="no interpreter here is for every user"
)
