"""Options of several commands, and the configuration file where none of them names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sockd.process.places import NOWHERE, PLACES, VARIABLE, usual_file


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
        help=f"Configuration file; by default ${VARIABLE}, or the first of {', '.join(PLACES)}.",
    )


config_file = _option(_chosen)
"""Option for the file that is read; the command takes it as `path`."""

config_file_if_any = _option(lambda _ctx, _param, given: given or usual_file())
"""Option for commands that can do without a file."""
