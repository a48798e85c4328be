"""`sockd schema`: the JSON Schema of the configuration, for editors."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, with the options of every plugin that is installed.

    Editors use it when the first line of the file is `#:schema sockd.schema.json`.
    """
    from sockd import discovery
    from sockd.config.schema import schema as build
    from sockd.errors import PluginError

    plugins = {}
    for entry in discovery.installed():
        try:
            plugins[entry.name] = discovery.find(entry.name)
        except PluginError as error:
            click.echo(f"sockd: left out: {error}", err=True)
    click.echo(json.dumps(build(plugins), indent=2))
