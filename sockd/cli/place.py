"""Facts of this machine for the units of systemd."""

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
    """Facts of the place where the daemon will run.

    Attributes:
        command: the `sockd` that is started.
        python: the folder where its interpreter is installed.
        config: its configuration file.
        user: that it runs as.
        notify_reload: whether systemd knows Type=notify-reload.
    """

    command: Path
    python: Path
    config: Path
    user: str
    notify_reload: bool


def normal(path: Path) -> Path:
    """Remove `..` from a path, because systemd ignores paths with it; links before a `..` are followed."""
    if ".." not in path.parts:
        return path
    last = len(path.parts) - path.parts[::-1].index("..")
    return Path(*path.parts[:last]).resolve().joinpath(*path.parts[last:])


def command() -> Path:
    """Return the `sockd` command of this interpreter."""
    here = Path(sys.executable).parent
    found = shutil.which("sockd", path=str(here)) or shutil.which("sockd")
    if found is None:
        raise click.ClickException(f"there is no sockd command in {here}")
    return Path(found).absolute()


def version() -> int:
    """Return the version of this machine's systemd; 0 without one."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return 0
    told = subprocess.run([systemctl, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    found = re.match(r"systemd (\d+)", told)
    return int(found[1]) if found else 0
