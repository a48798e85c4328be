"""Usual places of the configuration's file."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "SOCKD_CONFIG"

PLACES = ("sockd.toml", "config/sockd.toml", "/etc/sockd/sockd.toml")
"""Paths that are tried in this order, if neither `-c` nor the variable names the file."""

NOWHERE = f"there is no file {', '.join(PLACES[:-1])} or {PLACES[-1]}: name one with -c FILE or {VARIABLE}"


def usual_file() -> Path | None:
    """Return the configuration file of the variable or of the usual places; None if there is none."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    return next((path for path in map(Path, PLACES) if path.exists()), None)
