"""How one process carries the commands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.task import deferLater

from sockd.control.limits import limit_of
from sockd.control.words import UPGRADE_NEEDS_WORKERS, Refused, no_connection, unknown
from sockd.serving.daemon import Daemon, NotReloaded
from sockd.serving.service import PAUSED, Service
from sockd.serving.status import find, moved, peers

DRAIN_LOOK = 0.25
"""Seconds between two looks whether the last connection of a service is gone."""


class LocalOperator:
    """Carries out the commands in this process."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    async def status(self) -> dict[str, Any]:
        """The snapshot."""
        return self._daemon.snapshot(await moved(self._daemon.server))

    async def ps(self) -> list[dict[str, Any]]:
        """A row for each connection."""
        return await peers(self._daemon.server)

    async def kick(self, id: str) -> None:  # noqa: A002  # the argument's name in the protocol
        """Cut one connection."""
        connection = find(self._daemon.server, id)
        if connection is None:
            raise Refused(no_connection(id))
        connection.cut("kicked")

    async def drain(self, service: str | None) -> None:
        """Accept no more, and wait until the last connection is gone; the plugin is not told of an end."""
        services = self._services(service)
        await self.pause(service)
        while any(len(each.connections) for each in services):
            await deferLater(self._daemon.server.reactor, DRAIN_LOOK)
            if resumed := [each.name for each in services if each.state == "open"]:
                raise Refused(f"resumed before the last connection was gone: {', '.join(resumed)}")

    async def pause(self, service: str | None) -> None:
        """Accept no more."""
        for each in self._services(service):
            each.hold(PAUSED, held=True)

    async def resume(self, service: str | None) -> None:
        """Accept again."""
        for each in self._services(service):
            each.hold(PAUSED, held=False)

    async def set(self, service: str | None, key: str, value: str) -> None:
        """Change one limit."""
        services = self._services(service)
        limit = limit_of(key, value)
        for each in services:
            each.change(limit.under(each.config.limits))

    async def log(self, level: str) -> None:
        """Change the level of the log."""
        try:
            self._daemon.set_log_level(level)
        except ValueError as error:
            raise Refused(str(error)) from error

    async def reload(self, dry_run: bool) -> dict[str, list[str]]:
        """Make the configuration file hold."""
        try:
            return await self._daemon.reload(dry_run=dry_run)
        except NotReloaded as error:
            raise Refused("nothing has changed", {"report": str(error)}) from error

    async def upgrade(self) -> None:
        """Refuse, as there are no workers."""
        raise Refused(UPGRADE_NEEDS_WORKERS)

    async def stop(self) -> None:
        """Begin to end."""
        self._daemon.stop()

    def _services(self, name: str | None) -> Sequence[Service]:
        services = self._daemon.server.services
        chosen = [each for each in services if name in (None, each.name)]
        if name is not None and not chosen:
            raise Refused(unknown("a service", name, (each.name for each in services)))
        return chosen
