"""The `sockd` command. Each command's module is imported when it is used, so that help is there at once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from importlib import import_module

from sockd import __version__
from sockd.process import startup

if sys.argv[1:2] in (["run"], ["serve"]):
    startup.prepare()  # before click is loaded, which takes time in which a signal would end the daemon

import click
from typing_extensions import override

COMMANDS = {
    "run": ("sockd.cli.run", "Serve a configuration in the foreground."),
    "serve": ("sockd.cli.serve", "Serve one plugin without a configuration file."),
    "check": ("sockd.cli.check", "Say what is wrong with a configuration."),
    "schema": ("sockd.cli.schema", "Print the JSON Schema of the configuration, for editors."),
    "systemd": ("sockd.cli.systemd", "Print hardened systemd units for a configuration."),
    "plugins": ("sockd.cli.plugins", "List the plugins, or describe one with its options."),
    "status": ("sockd.cli.status", "Show every service of the running daemon."),
    "ps": ("sockd.cli.ps", "List the open connections."),
    "top": ("sockd.cli.top", "Show what happens each second."),
    "kick": ("sockd.cli.operate", "Cut a connection."),
    "drain": ("sockd.cli.operate", "Accept no more, and wait until the last connection is gone."),
    "pause": ("sockd.cli.operate", "Accept no more for now."),
    "resume": ("sockd.cli.operate", "Accept again."),
    "set": ("sockd.cli.operate", "Change a limit until the next start or reload."),
    "log": ("sockd.cli.operate", "Change how much is written to the log."),
    "reload": ("sockd.cli.operate", "Go over to what the configuration says now."),
    "upgrade": ("sockd.cli.operate", "Go over to the code that is installed now."),
    "stop": ("sockd.cli.operate", "Let the daemon end in order."),
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
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what it still holds
            raise click.ClickException("cannot write the output: no space left on device") from None

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
    startup.open_standard_descriptors()  # a socket would get their numbers
