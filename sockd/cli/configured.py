"""Service of a configuration whose plugin has commands of its own for operators."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sockd.cli.options import config_file
from sockd.text import describe_os_error, printable

if TYPE_CHECKING:
    from sockd.config import Config, ServiceConfig
    from sockd.plugin import Command

REFUSED = 1
"""Exit code of a command that is refused; 2 is click's, for a wrong command line."""


@dataclass(frozen=True, slots=True)
class Service:
    """Service with its plugin's commands.

    Attributes:
        name: of the service.
        as_json: whether to print JSON.
    """

    name: str
    as_json: bool
    _commands: dict[str, Command]

    def do(self, command: str, **arguments: Any) -> Any:
        """Return the result of a command; print its refusal and end the process."""
        from sockd.errors import CommandRefused

        try:
            return self._commands[command](**arguments)
        except CommandRefused as refused:
            self.end(str(refused))
        except PermissionError as error:
            where = f" for {error.filename}" if error.filename else ""
            self.end(f"no permission{where}: be root or the daemon's user")
        except OSError as error:
            self.end(
                f"{error.filename}: {describe_os_error(error)}"
                if error.filename
                else describe_os_error(error)
            )

    def tell(self, result: Any, words: str) -> None:
        """Print a result: as JSON, if that was asked for, or as text."""
        click.echo(json.dumps(result, indent=2) if self.as_json else words)

    def end(self, reason: str) -> NoReturn:
        """Print a reason and end the process."""
        words = json.dumps({"error": reason}, indent=2) if self.as_json else f"sockd: {printable(reason)}"
        click.echo(words, err=not self.as_json)
        raise SystemExit(REFUSED)


def of_service_with(
    needed: str, *, as_option: bool = False, work: tuple[str, str] = ("receives", "files")
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command its `service`, and the options that name it.

    Args:
        needed: a command that the service's plugin has.
        as_option: whether `-s` names the service, as the arguments are for something else.
        work: verb and object that describe such a service.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        named = (
            click.option(
                "-s", "--service", "name", metavar="NAME", help="Service; needed if there are several."
            )
            if as_option
            else click.argument("name", required=False, metavar="[SERVICE]")
        )

        @config_file
        @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
        @named
        @functools.wraps(command)
        def choose(path: Path, as_json: bool, name: str | None, **given: Any) -> None:
            command(_chosen(path, as_json, name, needed, work), **given)

        return choose

    return decorate


def _chosen(path: Path, as_json: bool, name: str | None, needed: str, work: tuple[str, str]) -> Service:
    verb, things = work
    config = _loaded(path)
    found = {
        each.name: Service(each.name, as_json, _commands(config, each)) for each in config.services.values()
    }
    able = {service.name: service for service in found.values() if needed in service._commands}
    nobody = Service("", as_json, {})
    if name is None:
        if len(able) == 1:
            return next(iter(able.values()))
        nobody.end(
            f"{path} has no service that {verb} {things}"
            if not able
            else f"expected SERVICE, one of {', '.join(able)}, as {path} has several"
        )
    if name not in able:
        known = f"; expected one of {', '.join(able)}" if able else ""
        nobody.end(
            f"service '{name}' {verb} no {things}{known}"
            if name in found
            else f"there is no service '{name}'{known}"
        )
    return able[name]


def _loaded(path: Path) -> Config:
    """Return a configuration; print its faults and end the process, as `sockd check` does."""
    from sockd import discovery
    from sockd.config import load, report
    from sockd.errors import ConfigError

    try:
        return load(path, discovery.find)
    except ConfigError as error:
        click.echo(report(error.faults), err=True)
        raise SystemExit(REFUSED) from None


def _commands(config: Config, service: ServiceConfig) -> dict[str, Command]:
    from sockd.plugin import Configured, Listening, Plugin

    if not isinstance(service.options, Plugin):
        return {}
    listeners = tuple(
        Listening(
            listener.endpoint,
            listener.protocol or next(iter(service.options.protocols)),
            listener.tls is not None,
        )
        for listener in service.listen
    )
    state_dir = config.daemon.state_dir / service.name
    return dict(service.options.commands(Configured(service.name, listeners, state_dir)))
