"""`sockd chat`: join a chat."""

from __future__ import annotations

import getpass
import os
import sys
from ipaddress import ip_address

import click

from sockd.cli.address import Address, of_service, reason
from sockd.cli.chat.view import Wishes
from sockd.cli.connect import on_terminal
from sockd.cli.peer import Failed

_WITHOUT_CURSOR = ("", "dumb", "unknown")
"""Terminals that cannot change written text, such as the shell of an editor."""

RETRY_IN_PIPE = 60.0
"""Seconds during which a lost connection of a script is opened again."""


@click.command()
@of_service
@click.option("-n", "--name", help="Your name in the chat; by default your login name.")
@click.option("-r", "--room", default="", help="Room to enter; by default the chat's first one.")
@click.option("--room-key", default="", help="Key of that room, if it has one.")
@click.option(
    "--login",
    is_flag=True,
    help="Log in to the account that has your name; the password is asked for, or is $SOCKD_PASSWORD.",
)
@click.option(
    "--retry",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Seconds during which a lost connection is opened again; by default for ever, in a pipe 60.",
)
def chat(
    address: Address, name: str | None, room: str, room_key: str, login: bool, retry: float | None
) -> None:
    """Join the chat at ADDRESS, over TCP, TLS, UDP or UNIX sockets.

    On a terminal: `/help` lists what you can do, PageUp scrolls and reads older messages, Tab completes,
    `/quit` or Ctrl-D leaves. In a pipe each line of the input is said to the room, and lines of others are
    printed; the end of the input leaves, once every line is stored.

    Exit code 0: success; all that was said is stored. 1: no connection, or it was lost, or the name or a line
    was refused.
    """
    name = name or getpass.getuser()
    for option, text in (("--name", name), ("--room", room), ("--room-key", room_key)):
        if any(separator in text for separator in "\r\n"):
            raise click.BadParameter("expected one line", param_hint=option)
    password = _password(address, name) if login else ""
    screen = on_terminal() and os.environ.get("TERM", "dumb") not in _WITHOUT_CURSOR
    wishes = Wishes(name, room, room_key, password, asks=screen)
    try:
        if screen:
            from sockd.cli.chat.screen import converse_on_screen

            converse_on_screen(address, wishes, retry)
        else:
            from sockd.cli.chat.plain import converse_plainly

            converse_plainly(address, wishes, RETRY_IN_PIPE if retry is None else retry)
    except Failed as failed:
        raise click.ClickException(str(failed)) from None
    except KeyboardInterrupt:
        click.echo(err=True)
        raise SystemExit(130) from None  # as a shell reports SIGINT
    except OSError as error:  # of standard input or output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # drops what it still holds
        if isinstance(error, BrokenPipeError):  # the reader has gone
            raise SystemExit(1) from None
        raise click.ClickException(f"cannot pass on what arrives: {reason(error)}") from None


def _password(address: Address, name: str) -> str:
    """Return the password of the account, for servers to which it does not travel in the clear."""
    if not (address.encrypted or address.path or _is_here(address.host)):
        raise click.UsageError(f"the password would travel in the clear to {address}: use tls:")
    if not (os.environ.get("SOCKD_PASSWORD") or sys.stdin.isatty()):
        raise click.UsageError("there is no terminal to ask for the password: set $SOCKD_PASSWORD")
    given = os.environ.get("SOCKD_PASSWORD") or getpass.getpass(f"password of {name}: ")
    if not given.isprintable() or not given:
        raise click.UsageError("expected a password in one line")
    return given


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
