"""Running daemon for a command, and the options that name it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from sockd.cli.options import config_file_if_any
from sockd.control.client import Unreachable, ask, configured
from sockd.control.words import Refused
from sockd.process.places import NOWHERE
from sockd.text import printable

SAYS_NO, UNREACHABLE = 1, 3
"""Exit codes; 2 is click's, for a wrong command line."""

EXIT_CODES = "Exit code 0: done. 1: the daemon refused. 2: wrong command line. 3: no daemon answers."
"""Last line of each command's help."""

QUICK, PATIENT = 10.0, 600.0
"""Seconds to wait for an answer: one that is ready, and one that needs work to be finished first."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """Daemon that a command talks to.

    Attributes:
        config: the file that names its control socket, if there is one.
        socket: the control socket, if it was named itself.
        timeout: seconds that an answer may take.
        as_json: whether to print JSON.
    """

    config: Path | None
    socket: Path | None
    timeout: float
    as_json: bool

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return the result of a command; without one, print the reason and end the process."""
        try:
            return self.try_to_ask(command, **arguments)
        except Refused as refused:
            self.end(refused)
        except Unreachable as error:
            self.end(error)

    def try_to_ask(self, command: str, **arguments: Any) -> Any:
        """Return the result of a command.

        Raises:
            Refused: the daemon refuses the command.
            Unreachable: the daemon does not answer.
        """
        return ask(self.socket or self._configured(), command, self.timeout, **arguments)

    def tell(self, result: Any, words: str) -> None:
        """Print a result: as JSON, if that was asked for, or as text."""
        click.echo(json.dumps(result, indent=2) if self.as_json else words)

    def _configured(self) -> Path:
        from sockd.errors import ConfigError

        if self.config is None:
            raise Unreachable(f"{NOWHERE}, or the daemon's control socket with --socket")
        if not self.config.exists():
            raise Unreachable(
                f"there is no {self.config}: name the file with -c, or the socket with --socket"
            )
        try:
            return configured(self.config)
        except ConfigError as error:
            from sockd.config import as_dict, report

            faults = [as_dict(fault) for fault in error.faults]
            raise Refused(str(error), {"faults": faults, "report": report(error.faults)}) from None

    def end(self, error: Refused | Unreachable) -> NoReturn:
        """Print the error and end the process; faults of a configuration are shown as `check` does."""
        found = error.result if isinstance(error, Refused) and isinstance(error.result, dict) else {}
        if self.as_json:
            click.echo(json.dumps({**found, "error": str(error)}, indent=2))
        elif "report" in found:
            click.echo("\n".join(map(printable, str(found["report"]).split("\n"))), err=True)
        else:
            click.echo(f"sockd: {printable(str(error))}", err=True)
        raise SystemExit(SAYS_NO if isinstance(error, Refused) else UNREACHABLE)


def of_daemon(timeout: float = QUICK) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command its `daemon`, and the options that name it."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @config_file_if_any
        @click.option(
            "--socket",
            type=click.Path(path_type=Path),
            help="Control socket, in place of the one that the file names.",
        )
        @click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=timeout,
            show_default=True,
            metavar="SECONDS",
            help="Seconds to wait for the answer.",
        )
        @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
        @functools.wraps(command)
        def reach(
            path: Path | None, socket: Path | None, timeout: float, as_json: bool, **given: Any
        ) -> None:
            command(Daemon(path, socket, timeout, as_json), **given)

        reach.__doc__ = f"{command.__doc__}\n\n    {EXIT_CODES}"
        return reach

    return decorate
