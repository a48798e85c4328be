"""`sockd run`: the daemon in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default="sockd.toml",
    show_default=True,
    help="The configuration file.",
)
def run(path: Path) -> NoReturn:
    """Serve a configuration in the foreground, as `twistd -n sockd -c FILE` does.

    SIGTERM or Ctrl-C stops it: connections may finish until drain_timeout; a second one ends it at once.
    """
    from sockd import tap

    tap.run(tap.loaded(path))
