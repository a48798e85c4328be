"""`sockd check`: what is wrong with a configuration, before it does harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sockd.cli.options import config_file

if TYPE_CHECKING:
    from sockd.config import Config, Listener


@click.command()
@config_file
@click.option("--bind", is_flag=True, help="Try every endpoint: open it, and close it again.")
@click.option("--json", "as_json", is_flag=True, help="Print the faults as JSON on standard output.")
def check(path: Path, bind: bool, as_json: bool) -> None:
    """Say everything that is wrong with a configuration, and where.

    Exit code 0: nothing. 1: it has faults. 2: the command itself was wrong.
    """
    from sockd import discovery
    from sockd.config import as_dict, load, report
    from sockd.errors import ConfigError

    faults = []
    try:
        config = load(path, discovery.find, examine=_opens if bind else _may_open)
    except ConfigError as error:
        faults = list(error.faults)
    if as_json:
        click.echo(json.dumps({"faults": [as_dict(fault) for fault in faults]}, indent=2))
    elif faults:
        click.echo(report(faults), err=True)
    else:
        click.echo(f"{path}: {_summary(config)}")
    raise SystemExit(1 if faults else 0)


def _may_open(listener: Listener) -> str | None:
    """Why a UNIX socket cannot be made, as far as can be seen without making it."""
    from sockd.endpoint import UnixEndpoint
    from sockd.sockets import obstacle

    return obstacle(listener.endpoint.path) if isinstance(listener.endpoint, UnixEndpoint) else None


def _opens(listener: Listener) -> str | None:
    """Why the endpoint cannot be opened, found by opening it."""
    from sockd.errors import BindError
    from sockd.sockets import open_socket

    try:
        open_socket(listener.endpoint, listener.socket).close()
    except BindError as error:
        return error.reason
    return None


def _summary(config: Config) -> str:
    services = len(config.services)
    listeners = sum(len(service.listen) for service in config.services.values())
    return f"no faults; {services} service{_s(services)}, {listeners} listener{_s(listeners)}"


def _s(number: int) -> str:
    return "" if number == 1 else "s"
