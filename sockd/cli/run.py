"""`sockd run`: run the daemon in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from sockd.cli.options import config_file


@click.command()
@config_file
def run(path: Path) -> NoReturn:
    """Serve a configuration in the foreground, as `twistd -n sockd -c FILE` does.

    SIGTERM or Ctrl-C stops it: connections may finish until drain_timeout. A second one ends it at once.
    """
    from sockd import tap

    tap.run(tap.loaded(path), tap.source(path))
