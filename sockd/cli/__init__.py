"""`sockd` command. Each subcommand's module is imported when it is used, so that help appears at once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from importlib import import_module

from sockd import __version__
from sockd.process import startup

if sys.argv[1:2] in (["run"], ["serve"]):
    startup.prepare()  # before click, whose import takes time in which a signal would end the daemon

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
    "kick": ("sockd.cli.operate", "Abort a connection."),
    "drain": ("sockd.cli.operate", "Stop accepting, and wait until the last connection is closed."),
    "pause": ("sockd.cli.operate", "Stop accepting for now."),
    "resume": ("sockd.cli.operate", "Accept again."),
    "set": ("sockd.cli.operate", "Change a limit until the next start or reload."),
    "log": ("sockd.cli.operate", "Change the level of the log."),
    "reload": ("sockd.cli.operate", "Serve what the configuration says now."),
    "upgrade": ("sockd.cli.operate", "Run the code that is installed now."),
    "stop": ("sockd.cli.operate", "Stop the daemon in order."),
    "connect": ("sockd.cli.connect", "Talk to a service."),
    "send": ("sockd.cli.send.command", "Send files and folders to a file receiver."),
    "files": ("sockd.cli.files", "Invite senders to a file receiver, and see its tokens and uploads."),
    "password": ("sockd.cli.password", "Make a line for a file of users, from a password."),
    "verify": ("sockd.cli.verify", "Check a file against its receipt."),
    "time": ("sockd.cli.time", "Ask a time service."),
    "history": ("sockd.cli.history", "Search the stored messages of a chat, or remove some."),
    "chat": ("sockd.cli.chat.command", "Join a chat."),
}
"""Module and help of each subcommand, in the order of the help page; the module has a command of that name.
"""


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
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # drops what it still holds
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
    """Serve many small network services from one daemon."""
    startup.open_standard_descriptors()  # before a socket gets one of their numbers
