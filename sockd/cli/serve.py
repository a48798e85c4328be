"""`sockd serve`: serve one plugin, without a configuration file."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from sockd.config import Document, KeyPath, Span


@click.command(context_settings={"ignore_unknown_options": True}, options_metavar="")
@click.argument("plugin")
@click.argument("settings", nargs=-1, type=click.UNPROCESSED, metavar="--listen ENDPOINT… [--KEY VALUE]…")
def serve(plugin: str, settings: tuple[str, ...]) -> NoReturn:
    """Serve PLUGIN (a name, or module:Class) at one or more endpoints, without a configuration file.

    \b
        sockd serve upper --listen tcp:7008 --listen udp:7008
        sockd serve time --listen udp:7013 --zone Europe/Oslo --log-level debug

    Every other --KEY is an option of the plugin, which `sockd plugins PLUGIN` lists, a limit (as in
    [limits]), or one of --log-level, --log-format, --log-file. --listen also takes a table, as in
    '{ endpoint = "tcp:7009", protocol = "raw" }'.
    """  # noqa: D301  # click keeps the lines after a real backspace as they are
    from sockd import discovery, tap
    from sockd.config import load_document, report
    from sockd.errors import ConfigError

    try:
        config = load_document(document(plugin, settings), discovery.find)
    except ConfigError as error:
        click.echo(report(error.faults), err=True)
        raise SystemExit(1) from None
    tap.run(config)


def document(plugin: str, settings: Sequence[str]) -> Document:
    """Turn the command line into a configuration; faults point into the command line."""
    from sockd.config import Document, Text

    line = _Line("sockd serve")
    name = plugin.rpartition(":")[2].lower()
    data: dict[str, Any] = {"service": {name: {"plugin": Text(plugin), "listen": []}}}
    word = line.add(plugin)
    line.mark(("service", name), word, word)
    line.mark(("service", name, "plugin"), word, word)
    for key, value in _pairs(settings):
        key_word = line.add(f"--{key}")
        value_word = line.add(value) if value is not None else key_word
        table, field = _place(plugin, name, key.replace("-", "_"))
        if field == "listen":
            listeners = data["service"][name]["listen"]
            line.mark((*table, field, len(listeners)), key_word, value_word)
            listeners.append(_listener(value or ""))
        else:
            values = data
            for step in table:
                values = values.setdefault(step, {})
            values[field] = True if value is None else Text(value)
            line.mark((*table, field), key_word, value_word)
    return Document("command line", line.text, data, line.spans, Path.cwd())


class _Line:
    """Command line as it is shown in a fault, with the place of each word."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans: dict[KeyPath, Span] = {}

    def add(self, word: str) -> tuple[int, int]:
        """Append a word, in quotes if a shell needs them; return the offsets of its start and end."""
        quoted = shlex.quote(word)
        start = len(self.text) + 1 + (quoted != word)
        self.text += f" {quoted}"
        return start, start + len(word)

    def mark(self, path: KeyPath, key: tuple[int, int], value: tuple[int, int]) -> None:
        """Note the places of the key and the value of `path`."""
        from sockd.config import Span

        self.spans[path] = Span(*key, *value)


def _place(plugin: str, name: str, key: str) -> tuple[tuple[str, ...], str]:
    """Return the table that a key belongs to, and its name there; a misspelt limit counts as a limit."""
    from sockd.config import Limits

    if key == "listen":
        return ("service", name), key
    if key.startswith("log_"):
        return ("log",), key.removeprefix("log_")
    limit = key not in _options(plugin) and difflib.get_close_matches(key, Limits.model_fields, n=1)
    return ("service", name, "limits" if limit else "options"), key


def _options(plugin: str) -> Container[str]:
    from sockd import discovery
    from sockd.errors import PluginError

    try:
        return discovery.find(plugin).model_fields
    except PluginError:  # reported with its place when the configuration is checked
        return ()


def _pairs(settings: Sequence[str]) -> list[tuple[str, str | None]]:
    """Split the settings into keys and values; a key without a value is a switch."""
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
    """Return an endpoint, or the inline table that a configuration file would have there."""
    import tomli

    from sockd.config import Text

    if not value.startswith("{"):
        return Text(value)
    try:
        return tomli.loads(f"listener = {value}")["listener"]
    except tomli.TOMLDecodeError as error:
        raise click.UsageError(f"--listen {value}: not a TOML table: {error.msg.lower()}") from None
