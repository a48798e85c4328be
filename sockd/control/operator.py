"""The contract of what carries out the commands of the control socket, and each command with its arguments.

A command is declared here alone, as a method of `Operator`. No Twisted here: both ends load it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints

from sockd.telemetry.snapshot import ConnectionRow, Snapshot

Level = Literal["debug", "info", "warn", "error"]
"""The importance of an event."""

LEVELS = get_args(Level)


@dataclass(frozen=True, slots=True)
class Argument:
    """Argument of a command.

    Attributes:
        kind: the type of its value.
        required: whether it must be there; without it, it is None, or false for a switch.
        choices: the words that it may be; empty if any will do.
    """

    kind: type = str
    required: bool = True
    choices: tuple[str, ...] = ()


class Operator(Protocol):
    """Carries out each command; raises `Refused` where the answer is no. A service of None means all."""

    async def status(self) -> Snapshot:
        """Return the snapshot: the state of everything."""
        ...

    async def ps(self) -> list[ConnectionRow]:
        """Return a row for each connection."""
        ...

    async def kick(self, id: str) -> None:  # noqa: A002  # the argument's name in the protocol
        """Abort one connection."""
        ...

    async def drain(self, service: str | None) -> None:
        """Accept no more, and return when the last connection is gone."""
        ...

    async def pause(self, service: str | None) -> None:
        """Accept no more; open connections go on."""
        ...

    async def resume(self, service: str | None) -> None:
        """Accept again."""
        ...

    async def set(self, service: str | None, key: str, value: str) -> None:
        """Change one limit until the next start or reload."""
        ...

    async def log(self, level: Level) -> None:
        """Write events of this level and above from now on."""
        ...

    async def reload(self, dry_run: bool) -> dict[str, list[str]]:
        """Put the configuration file as it is now into force; return the plan, the services of each step."""
        ...

    async def upgrade(self) -> Any:
        """Change to the installed code without losing a connection."""
        ...

    async def stop(self) -> None:
        """Begin to end in order."""
        ...


def _arguments(method: Callable[..., Any]) -> Mapping[str, Argument]:
    """Return the arguments of a command, from the annotations of its method."""
    hints = get_type_hints(method)
    del hints["return"]
    return {name: _argument(hint) for name, hint in hints.items()}


def _argument(hint: Any) -> Argument:
    if hint is bool:
        return Argument(bool, required=False)
    if get_origin(hint) is Literal:
        return Argument(choices=get_args(hint))
    return Argument(required=type(None) not in get_args(hint))


COMMANDS: Mapping[str, Mapping[str, Argument]] = {
    "ping": {},  # answered by the control socket itself
    **{name: _arguments(method) for name, method in vars(Operator).items() if iscoroutinefunction(method)},
}
"""Arguments of each command, by its name."""
