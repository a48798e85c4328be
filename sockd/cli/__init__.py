"""The `sockd` command. Each command's module is imported when it is used, so that help is there at once."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

import click
from typing_extensions import override

from sockd import __version__

COMMANDS = {
    "run": ("sockd.cli.run", "Serve a configuration in the foreground."),
    "serve": ("sockd.cli.serve", "Serve one plugin without a configuration file."),
    "check": ("sockd.cli.check", "Say what is wrong with a configuration."),
    "schema": ("sockd.cli.schema", "Print the JSON Schema of the configuration, for editors."),
    "plugins": ("sockd.cli.plugins", "List the plugins, or describe one with its options."),
    "connect": ("sockd.cli.connect", "Talk to a service by hand."),
    "send": ("sockd.cli.send", "Send files to a file receiver."),
    "time": ("sockd.cli.time", "Ask a time service."),
    "chat": ("sockd.cli.chat", "Join a chat."),
}
"""Command -> module, which has the command under the same name, and help. In the order of the help page."""


class _Commands(click.Group):
    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), cmd_name)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(_rows())


def _rows() -> Iterable[tuple[str, str]]:
    return [(name, text) for name, (_, text) in COMMANDS.items()]


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="sockd", message="%(prog)s %(version)s")
def main() -> None:
    """One daemon for many small network services."""
