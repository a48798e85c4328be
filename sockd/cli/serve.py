"""`sockd serve`: one plugin, from the command line alone."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from sockd.config.document import Document


@click.command(
    context_settings={"ignore_unknown_options": True}, options_metavar="--listen ENDPOINT [--KEY VALUE]…"
)
@click.argument("plugin")
@click.argument("settings", nargs=-1, type=click.UNPROCESSED)
def serve(plugin: str, settings: tuple[str, ...]) -> NoReturn:
    r"""Serve PLUGIN (a name, or module:Class) at one or more endpoints, without a configuration file.

    \b
        sockd serve upper --listen tcp:7008 --listen udp:7008
        sockd serve time --listen udp:7013:interface=127.0.0.1 --zone Europe/Oslo --idle-timeout 30s

    Every other --KEY is an option of the plugin, which `sockd plugins PLUGIN` lists, a limit (as in
    [limits]), or one of --log-level, --log-format, --log-file. --listen also takes a table, as in
    '{ endpoint = "tcp:7009", protocol = "raw" }'.
    """
    from sockd import discovery, tap
    from sockd.config import load_document
    from sockd.config.faults import render
    from sockd.errors import ConfigError

    try:
        config = load_document(document(plugin, settings), discovery.find)
    except ConfigError as error:
        click.echo("\n\n".join(render(fault) for fault in error.faults), err=True)
        raise SystemExit(1) from None
    tap.run(config)


def document(plugin: str, settings: Sequence[str]) -> Document:
    """The command line as a configuration, so that faults point into it."""
    from sockd.config import Limits
    from sockd.config.document import Document, Text
    from sockd.config.positions import Span

    text = "sockd serve"
    name = plugin.rpartition(":")[2].lower()
    table: dict[str, Any] = {"plugin": Text(plugin), "listen": [], "limits": {}, "options": {}}
    data: dict[str, Any] = {"service": {name: table}, "log": {}}
    spans: dict[tuple[str | int, ...], Span] = {(): Span(0, len(text), 0, len(text))}

    def add(word: str) -> tuple[int, int]:
        """Append a word to the text; returns where it stands there, without quotes."""
        nonlocal text
        quoted = shlex.quote(word)
        start = len(text) + 1 + (quoted != word)
        text += f" {quoted}"
        return start, start + len(word)

    start, end = add(plugin)
    service = ("service", name)
    spans[service] = spans[(*service, "plugin")] = Span(start, end, start, end)
    for key, value in _pairs(settings):
        where = add(f"--{key}")
        there = add(value) if value is not None else where
        field = key.replace("-", "_")
        path: tuple[str | int, ...]
        if field == "listen":
            path = (*service, "listen", len(table["listen"]))
            table["listen"].append(_listener(value or ""))
        elif field.startswith("log_"):
            path = ("log", field.removeprefix("log_"))
            data["log"][path[-1]] = Text(value)
        else:
            # A misspelt limit is told as a limit, with the right word.
            part = "limits" if difflib.get_close_matches(field, Limits.model_fields, n=1) else "options"
            path = (*service, part, field)
            table[part][field] = True if value is None else Text(value)
        spans[path] = Span(*where, *there)
    return Document("command line", text, data, spans, Path.cwd())


def _pairs(settings: Sequence[str]) -> list[tuple[str, str | None]]:
    """The keys and their values; a key without a value is a switch."""
    pairs: list[tuple[str, str | None]] = []
    words = list(settings)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise click.UsageError(f"expected --KEY VALUE, found {word!r}")
        key, equals, value = word.removeprefix("--").partition("=")
        if equals:
            pairs.append((key, value))
        elif words and not words[0].startswith("--"):
            pairs.append((key, words.pop(0)))
        else:
            pairs.append((key, None))
    return pairs


def _listener(value: str) -> Any:
    """An endpoint, or the inline table that a configuration file would have there."""
    import tomli

    from sockd.config.document import Text

    if not value.startswith("{"):
        return Text(value)
    try:
        return tomli.loads(f"listener = {value}")["listener"]
    except tomli.TOMLDecodeError as error:
        raise click.UsageError(f"--listen {value}: not a TOML table: {error.msg.lower()}") from None
