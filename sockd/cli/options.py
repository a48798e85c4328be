"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

config_file = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default="sockd.toml",
    show_default=True,
    help="The configuration file.",
)
"""The file that is read; the command takes it as `path`."""
