"""Changes by an operator that hold for workers that start later too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

Order = tuple[str, dict[str, Any]]
"""A command with its arguments, as JSON has it."""


class Overrides:
    """Overrides of the configuration: paused services, limits that were set, the level of the log.

    Args:
        orders: commands of a former image of the supervisor.
    """

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self._orders = [(command, dict(arguments)) for command, arguments in orders]

    def orders(self) -> list[Order]:
        """Return the commands that a new worker has to carry out, in this order."""
        return list(self._orders)

    def sets(self, service: str) -> list[tuple[str, str]]:
        """Return the limits of a service that were set, with their values."""
        return [
            (arguments["key"], arguments["value"])
            for command, arguments in self._orders
            if command == "set" and arguments["service"] in (None, service)
        ]

    def pause(self, services: Iterable[str]) -> None:
        """Note that these services accept no more."""
        names = set(services)
        self.resume(names)
        self._orders += [("pause", {"service": name}) for name in sorted(names)]

    def resume(self, services: Collection[str]) -> None:
        """Note that these services accept again."""
        self._forget(lambda command, arguments: command == "pause" and arguments["service"] in services)

    def set(self, service: str | None, key: str, value: str) -> None:
        """Note the value of a limit, for all services if none is given."""
        self._forget(
            lambda command, arguments: (
                command == "set" and arguments["key"] == key and service in (None, arguments["service"])
            )
        )
        self._orders.append(("set", {"service": service, "key": key, "value": value}))

    def log(self, level: str) -> None:
        """Note the level of the log."""
        self._forget(lambda command, _: command == "log")
        self._orders.append(("log", {"level": level}))

    def reloaded(self, services: Collection[str]) -> None:
        """Forget limits, the level, and pauses of services that are gone, after a reload."""
        self._forget(lambda command, arguments: command != "pause" or arguments["service"] not in services)

    def _forget(self, which: Callable[[str, dict[str, Any]], bool]) -> None:
        self._orders = [order for order in self._orders if not which(*order)]
