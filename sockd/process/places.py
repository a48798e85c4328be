"""Where the configuration's file is, if nobody names it."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "SOCKD_CONFIG"

PLACES = ("sockd.toml", "config/sockd.toml", "/etc/sockd/sockd.toml")
"""Where the configuration is looked for, in this order, if neither `-c` nor the variable names it."""

NOWHERE = f"there is no file {', '.join(PLACES[:-1])} or {PLACES[-1]}: name one with -c FILE or {VARIABLE}"


def usual_file() -> Path | None:
    """The configuration file that nobody has named; None if there is none in the usual places."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    return next((path for path in map(Path, PLACES) if path.exists()), None)
