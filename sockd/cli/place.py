"""Where the daemon will run, as far as this machine tells."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click


@dataclass(frozen=True, slots=True)
class Place:
    """Where the daemon will run.

    Attributes:
        command: the `sockd` that is started.
        python: where its interpreter is installed.
        config: its configuration file.
        user: whom it runs as.
        notify_reload: whether systemd knows Type=notify-reload.
    """

    command: Path
    python: Path
    config: Path
    user: str
    notify_reload: bool


def normal(path: Path) -> Path:
    """Remove `..` from a path, as systemd ignores paths that have it; links before one are followed."""
    if ".." not in path.parts:
        return path
    last = len(path.parts) - path.parts[::-1].index("..")
    return Path(*path.parts[:last]).resolve().joinpath(*path.parts[last:])


def command() -> Path:
    """The `sockd` of this very interpreter."""
    here = Path(sys.executable).parent
    found = shutil.which("sockd", path=str(here)) or shutil.which("sockd")
    if found is None:
        raise click.ClickException(f"there is no sockd command in {here}")
    return Path(found).absolute()


def version() -> int:
    """The version of this machine's systemd; 0 if it has none."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return 0
    told = subprocess.run([systemctl, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    found = re.match(r"systemd (\d+)", told)
    return int(found[1]) if found else 0
