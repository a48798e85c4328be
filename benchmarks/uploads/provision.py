"""Servers that are missing here, installed in a folder of the run for the time of the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.uploads.receivers import no_module, no_tus

PYTHON = ("pyftpdlib", "copyparty")
"""Packages, each with a module of its name."""

NODE = ("@tus/server@2.4.5", "@tus/file-store@2.1.1")

_PATIENCE = 180.0  # seconds for an installation


def provide(folder: Path) -> list[str]:
    """Install what is missing, and let all processes of this run find it.

    Args:
        folder: exists as long as the run.

    Returns:
        Reasons for what could not be installed.
    """
    faults = []
    if missing := [name for name in PYTHON if no_module(name)()]:
        target = folder / "python"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--target", str(target)]
        faults += _install([*pip, *missing], "PYTHONPATH", target)
    if shutil.which("npm") and no_tus():
        target = folder / "node"
        npm = ["npm", "install", "--silent", "--no-save", "--prefix", str(target)]
        faults += _install([*npm, *NODE], "NODE_PATH", target / "node_modules")
    return faults


def _install(command: Sequence[str], variable: str, target: Path) -> list[str]:
    target.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(  # noqa: S603  # commands of this module
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False, env=_without_bytecode()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"{command[0]}: {error}"]
    if done.returncode:
        return [f"{' '.join(command)}: {done.stderr.strip()[-200:]}"]
    os.environ[variable] = os.pathsep.join(filter(None, (str(target), os.environ.get(variable))))
    return []


def _without_bytecode() -> Mapping[str, str]:
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
