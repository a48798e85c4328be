"""`sockd plugins`: the installed plugins, and the options of each."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, get_args

import click

from sockd.endpoint import Transport

if TYPE_CHECKING:
    from sockd.plugin import Plugin


@click.command()
@click.argument("name", required=False)
def plugins(name: str | None) -> None:
    """List the plugins that are installed; with NAME (or module:Class) describe one and its options.

    Exit code 1 if the one that was asked for, or any of the list, cannot be used.
    """
    from sockd import discovery
    from sockd.errors import PluginError

    if name is not None:
        try:
            _describe(name, discovery.find(name))
        except PluginError as error:
            raise click.ClickException(str(error)) from None
        return
    broken = False
    for entry in discovery.installed():
        try:
            summary = _summary(discovery.find(entry.name))
        except PluginError as error:
            summary, broken = f"broken: {error}", True
        click.echo(f"{entry.name:<10} {_package(entry):<16} {summary}")
    if broken:
        raise SystemExit(1)


def _describe(name: str, plugin: type[Plugin]) -> None:
    from sockd.config.misfits import transports

    protocols = transports(plugin)
    serves = [
        transport
        for transport in get_args(Transport)
        if any(transport in over for over in protocols.values())
    ]
    click.echo(f"{name}: {inspect.getdoc(plugin) or ''}\n")
    click.echo(f"class      {plugin.__module__}:{plugin.__qualname__}")
    click.echo(f"serves     {_in_words(serves)}")
    told = (
        f"{name} (only {_in_words(over)})" if set(over) < set(serves) else name
        for name, over in protocols.items()
    )
    click.echo(f"protocols  {', '.join(told)}")
    module = inspect.getdoc(inspect.getmodule(plugin))
    schema = plugin.model_json_schema()
    if schema.get("properties"):
        click.echo("\noptions")
        for option, properties in schema["properties"].items():
            click.echo(f"  {option} = {_default(properties, option in schema.get('required', ()))}")
            if description := properties.get("description"):
                click.echo(click.wrap_text(description, 100, "      ", "      "))
    if module:
        click.echo(f"\n{module}")


def _in_words(transports: Collection[Transport]) -> str:
    return " and ".join(f"{transport}s" for transport in get_args(Transport) if transport in transports)


def _default(properties: dict[str, Any], required: bool) -> str:
    import json

    if required:
        return f"({properties.get('type', 'value')}, required)"
    default = properties.get("default")
    return json.dumps(default) if default is not None else "(none)"


def _summary(plugin: type[Plugin]) -> str:
    return (inspect.getdoc(plugin) or "").partition("\n")[0]


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "-"
