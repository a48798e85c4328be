"""Options that several commands have, and where the configuration is if none of them says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

VARIABLE = "SOCKD_CONFIG"

PLACES = ("sockd.toml", "config/sockd.toml", "/etc/sockd/sockd.toml")
"""Where the configuration is looked for, in this order, if neither `-c` nor the variable names it."""

NOWHERE = f"there is no file {', '.join(PLACES[:-1])} or {PLACES[-1]}: name one with -c FILE or {VARIABLE}"


def usual_file() -> Path | None:
    """The configuration file that nobody has named; None if there is none in the usual places."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    return next((path for path in map(Path, PLACES) if path.exists()), None)


def _chosen(_ctx: click.Context, _param: click.Parameter, given: Path | None) -> Path:
    path = given or usual_file()
    if path is None:
        raise click.UsageError(NOWHERE)
    return path


def _option(callback: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "-c",
        "--config",
        "path",
        type=click.Path(path_type=Path),
        callback=callback,
        help=f"The configuration file; without it ${VARIABLE}, or the first of {', '.join(PLACES)}.",
    )


config_file = _option(_chosen)
"""The file that is read; the command takes it as `path`."""

config_file_if_any = _option(lambda _ctx, _param, given: given or usual_file())
"""The same for commands that can do without one."""
