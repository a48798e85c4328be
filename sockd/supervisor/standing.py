"""What an operator has asked for and what stands for workers that begin later too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

Order = tuple[str, dict[str, Any]]
"""A command with its arguments, as JSON has it."""


class Standing:
    """Services that are paused, limits that were set, the level of the log.

    Args:
        orders: of a former one.
    """

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self._orders = [(command, dict(arguments)) for command, arguments in orders]

    def orders(self) -> list[Order]:
        """What a new worker has to carry out, in this order."""
        return list(self._orders)

    def sets(self, service: str) -> list[tuple[str, str]]:
        """The limits of a service that were set, with their values."""
        return [
            (arguments["key"], arguments["value"])
            for command, arguments in self._orders
            if command == "set" and arguments["service"] in (None, service)
        ]

    def pause(self, services: Iterable[str]) -> None:
        """These accept no more."""
        names = set(services)
        self.resume(names)
        self._orders += [("pause", {"service": name}) for name in sorted(names)]

    def resume(self, services: Collection[str]) -> None:
        """These accept again."""
        self._forget(lambda command, arguments: command == "pause" and arguments["service"] in services)

    def set(self, service: str | None, key: str, value: str) -> None:
        """A limit has a value, for all services if none is given."""
        self._forget(
            lambda command, arguments: (
                command == "set" and arguments["key"] == key and service in (None, arguments["service"])
            )
        )
        self._orders.append(("set", {"service": service, "key": key, "value": value}))

    def log(self, level: str) -> None:
        """The log has this level."""
        self._forget(lambda command, _: command == "log")
        self._orders.append(("log", {"level": level}))

    def reloaded(self, services: Collection[str]) -> None:
        """A configuration with these services holds, with its own limits and level."""
        self._forget(lambda command, arguments: command != "pause" or arguments["service"] not in services)

    def _forget(self, which: Callable[[str, dict[str, Any]], bool]) -> None:
        self._orders = [order for order in self._orders if not which(*order)]
