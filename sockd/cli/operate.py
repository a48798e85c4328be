"""Commands that change a running daemon: from `sockd kick` to `sockd stop`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from sockd.cli.daemon import PATIENT, SAYS_NO, Daemon, of_daemon
from sockd.control.client import Unreachable
from sockd.control.operator import LEVELS
from sockd.control.words import Refused
from sockd.text import printable

_SERVICE = click.argument("service", required=False)

_STEPS = {
    "keep": "keep {}",
    "limits": "change limits of {}",
    "listeners": "change listeners of {}",
    "restart": "restart {}",
    "add": "add {}",
    "remove": "remove {}",
}
"""Texts of the steps of a plan, in the order in which they are printed."""


@click.command()
@of_daemon()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def kick(daemon: Daemon, ids: Sequence[str]) -> None:
    """Abort each connection ID at once; `sockd ps` lists them.

    An ID that does not exist is reported; the others are aborted all the same.
    """
    kicked, refused = [], []
    for id in ids:  # noqa: A001  # name of the argument in the protocol
        try:
            daemon.try_to_ask("kick", id=id)
            kicked.append(id)
        except Refused as error:
            refused.append(str(error))
        except Unreachable as error:
            daemon.end(error)
    why = {"error": "; ".join(refused)} if refused else {}
    if daemon.as_json or kicked:
        daemon.tell({"kicked": kicked, **why}, printable(f"kicked {', '.join(kicked)}"))
    if refused:
        if not daemon.as_json:
            click.echo("\n".join(f"sockd: {printable(reason)}" for reason in refused), err=True)
        raise SystemExit(SAYS_NO)


@click.command()
@of_daemon(PATIENT)
@_SERVICE
def drain(daemon: Daemon, service: str | None) -> None:
    """Stop accepting in SERVICE, or in every service, and wait until its last connection is closed.

    `sockd resume` makes it accept again. If it takes longer than --timeout, the draining goes on.
    """
    daemon.tell(daemon.ask("drain", service=service), f"drained {_named(service)}")


@click.command()
@of_daemon()
@_SERVICE
def pause(daemon: Daemon, service: str | None) -> None:
    """Stop accepting in SERVICE, or in every service. Open connections go on; new peers and datagrams wait.

    `sockd resume` makes it accept again.
    """
    daemon.tell(daemon.ask("pause", service=service), f"paused {_named(service)}")


@click.command()
@of_daemon()
@_SERVICE
def resume(daemon: Daemon, service: str | None) -> None:
    """Accept again in SERVICE, or in every service."""
    daemon.tell(daemon.ask("resume", service=service), f"resumed {_named(service)}")


@click.command()
@of_daemon()
@click.argument("name", metavar="[SERVICE.]KEY")
@click.argument("value")
def set(daemon: Daemon, name: str, value: str) -> None:  # noqa: A001  # name of the command
    """Change a limit until the next start or reload, for one service or, without SERVICE, for all.

    \b
        sockd set chat.max_per_source 5
        sockd set idle_timeout 2m

    KEY is one of [limits] and VALUE is written as in the file: a number, "30s", "64KiB", "100/s", "off".
    """  # noqa: D301  # click keeps the lines after a real backspace as they are
    service, _, key = name.rpartition(".")  # a service's name may have dots, a key has none
    result = daemon.ask("set", service=service or None, key=key, value=value)
    daemon.tell(result, printable(f"{key} = {value} for {_named(service or None)}"))


@click.command()
@of_daemon()
@click.argument("level", type=click.Choice(LEVELS))
def log(daemon: Daemon, level: str) -> None:
    """Write events of LEVEL and above to the log, until the next start or reload."""
    daemon.tell(daemon.ask("log", level=level), f"the log has {level} and above")


@click.command()
@of_daemon(PATIENT)
@click.option("--dry-run", is_flag=True, help="Only print the plan; change nothing.")
def reload(daemon: Daemon, dry_run: bool) -> None:
    """Serve what the configuration file says now, without touching what has not changed.

    A faulty file, or a port that cannot be opened, leaves everything as it was.
    """
    plan = daemon.ask("reload", dry_run=dry_run)
    daemon.tell(plan, _plan_in_words(plan, "would " if dry_run else ""))


@click.command()
@of_daemon(PATIENT)
def upgrade(daemon: Daemon) -> None:
    """Run the code that is installed now, without losing a connection.

    The new code is tried first; if it cannot serve, nothing changes. Then it replaces the supervisor, whose
    process id stays the same. New workers take the sockets, and the old workers finish their connections.
    """
    daemon.tell(daemon.ask("upgrade"), "upgraded")


@click.command()
@of_daemon()
def stop(daemon: Daemon) -> None:
    """Stop the daemon in order: connections may finish until drain_timeout. Does not wait for the end."""
    daemon.tell(daemon.ask("stop"), "stopping")


def _named(service: str | None) -> str:
    return "every service" if service is None else printable(service)


def _plan_in_words(plan: Mapping[str, Sequence[Any]], would: str) -> str:
    """Describe a plan: how many services each step is for, and then which."""
    steps = [(words, plan.get(step) or ()) for step, words in _STEPS.items()]
    total = ", ".join(words.format(len(names)) for words, names in steps if names) or "do nothing"
    lines = [words.format(", ".join(map(str, names))) for words, names in steps if names]
    if later := plan.get("later"):
        lines.append(
            f"other keys of {', '.join(f'[{table}]' for table in later)} hold from the next start on"
        )
    return "\n".join([would + total, *(printable(f"  {line}") for line in lines)])
