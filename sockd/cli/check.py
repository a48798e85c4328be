"""`sockd check`: the faults of a configuration, before it is served."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sockd.cli.options import config_file

if TYPE_CHECKING:
    from sockd.config import Config, KeyPath, Listener
    from sockd.tls.pem import Problem

_STDIN = Path("/dev/stdin")


@click.command()
@config_file
@click.option("--bind", is_flag=True, help="Try every endpoint: open it, and close it again.")
@click.option("--json", "as_json", is_flag=True, help="Print the faults as JSON on standard output.")
def check(path: Path, bind: bool, as_json: bool) -> None:
    """Say everything that is wrong with a configuration, and where.

    The file may also be a pipe, or - for standard input; relative paths count from here then.

    Exit code 0: nothing. 1: it has faults. 2: the command itself was wrong.
    """
    from sockd import discovery
    from sockd.config import as_dict, descriptors_available, load_document, report
    from sockd.config.document import read
    from sockd.config.load import with_services
    from sockd.errors import ConfigError

    faults = []
    try:
        examine = partial(_examine, why_not=_opens if bind else _may_open)
        document = read(_STDIN if str(path) == "-" else path, pipes=True)
        config = load_document(document, discovery.find, examine=examine, descriptors=descriptors_available())
        with_services(config, str(path))
    except ConfigError as error:
        faults = list(error.faults)
    if as_json:
        click.echo(json.dumps({"faults": [as_dict(fault) for fault in faults]}, indent=2))
    elif faults:
        click.echo(report(faults), err=True)
    else:
        _warn(config, document.folder)
        click.echo(f"{path}: {_summary(config)}")
    raise SystemExit(1 if faults else 0)


def _examine(listener: Listener, why_not: Callable[[Listener], str | None]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the faults of a listener that only the machine knows."""
    if reason := why_not(listener):
        yield (), f"cannot listen on {listener.endpoint}: {reason}"
    for problem, key in _tls_problems(listener):
        if problem.severity == "error":
            yield ("tls", *key), str(problem)


def _tls_problems(listener: Listener) -> Iterator[tuple[Problem, KeyPath]]:
    """Yield the problems of certificates and keys, each with the key that names the file."""
    if listener.tls is None:
        return
    from sockd.tls.check import problems
    from sockd.tls.credentials import Settings

    keys = {path: key for key, path in listener.tls.files()}
    for problem in problems(Settings.of(listener.tls), datetime.now(UTC)):
        yield problem, keys.get(problem.path, ())


def _warn(config: Config, folder: Path) -> None:
    """Print what is unwise, or will be a fault soon."""
    said = {
        str(problem)
        for service in config.services.values()
        for listener in service.listen
        for problem, _ in _tls_problems(listener)
        if problem.severity == "warning"
    }
    if config.daemon.workers:
        said |= {
            f"service '{service.name}' keeps in memory what its peers share, so one worker serves all of it"
            for service in config.services.values()
            if getattr(service.options, "shared_state", False)
        }
    said |= {
        f"include: '{pattern}' matches no file"
        for pattern in config.daemon.include
        if not glob.glob(pattern, root_dir=folder)
    }
    for warning in sorted(said):
        click.echo(f"warning: {warning}", err=True)


def _may_open(listener: Listener) -> str | None:
    """Return why a UNIX socket cannot be made, as far as that can be told without making it."""
    from sockd.endpoint import UnixEndpoint
    from sockd.sockets.open import obstacle

    return obstacle(listener.endpoint.path) if isinstance(listener.endpoint, UnixEndpoint) else None


def _opens(listener: Listener) -> str | None:
    """Return why the endpoint cannot be opened, found by opening it."""
    from sockd.endpoint import SystemdEndpoint
    from sockd.errors import BindError
    from sockd.sockets.open import open_socket

    if isinstance(listener.endpoint, SystemdEndpoint):  # systemd opens it
        return None
    try:
        open_socket(listener.endpoint, listener.socket).close()
    except BindError as error:
        return error.reason
    return None


def _summary(config: Config) -> str:
    services = len(config.services)
    listeners = sum(len(service.listen) for service in config.services.values())
    disabled = f"; not enabled: {', '.join(config.disabled)}" if config.disabled else ""
    return f"no faults; {services} service{_s(services)}, {listeners} listener{_s(listeners)}{disabled}"


def _s(number: int) -> str:
    return "" if number == 1 else "s"
