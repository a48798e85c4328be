"""Control commands, carried out in a process that serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from twisted.internet.task import deferLater

from sockd.config.plan import Plan
from sockd.control.limits import limit_of
from sockd.control.words import UPGRADE_NEEDS_WORKERS, Code, Refused, unknown_connection, unknown_service
from sockd.process.role import answer_reload
from sockd.serving.server import Server
from sockd.serving.service import PAUSED, Service
from sockd.serving.status import Moved, find, moved, peers
from sockd.telemetry.snapshot import About, ConnectionRow, ProcessSnapshot, Snapshot

DRAIN_LOOK = 0.25
"""Seconds between two looks whether the last connection of a service is gone."""


class Serving(Protocol):
    """A process that serves, as its operator needs it: a daemon without workers, or a worker."""

    @property
    def server(self) -> Server:
        """The server that commands change."""
        ...

    def snapshot(self, moved: Moved | None = None) -> ProcessSnapshot:
        """Return the status of the server.

        Args:
            moved: bytes of connections, as far as they have been asked already.
        """
        ...

    def set_log_level(self, level: str) -> None:
        """Write events of this level and above from now on.

        Raises:
            ValueError: the log is not sockd's own.
        """


class Daemon(Protocol):
    """A daemon, as its operator needs it."""

    def about(self) -> About:
        """Return what the status tells of the process."""
        ...

    async def reload(self, *, dry_run: bool = False) -> Plan:
        """Serve what the configuration's file says now; raises NotChanged."""
        ...

    def stop(self) -> None:
        """End in order."""


class LocalOperator:
    """Operator of the services of this process.

    Args:
        process: serves.
        daemon: whose process this is; None for a worker, whose supervisor carries out `reload` and `stop`.
    """

    def __init__(self, process: Serving, daemon: Daemon | None = None) -> None:
        self._process = process
        self._daemon = daemon

    async def status(self) -> Snapshot:
        """Return the snapshot."""
        snapshot = self._process.snapshot(await moved(self._process.server))
        return cast("Snapshot", snapshot if self._daemon is None else {**snapshot, **self._daemon.about()})

    async def ps(self) -> list[ConnectionRow]:
        """Return a row for each connection."""
        return await peers(self._process.server)

    async def kick(self, id: str) -> None:  # noqa: A002  # the argument's name in the protocol
        """Abort one connection."""
        connection = find(self._process.server, id)
        if connection is None:
            raise unknown_connection(id)
        connection.cut("kicked")

    async def drain(self, service: str | None) -> None:
        """Accept no more, and wait until the last connection is gone; the plugin is not told of an end."""
        services = self._services(service)
        await self.pause(service)
        while any(len(each.connections) for each in services):
            await deferLater(self._process.server.reactor, DRAIN_LOOK)
            if resumed := [each.name for each in services if each.state == "open"]:
                text = f"resumed before the last connection was gone: {', '.join(resumed)}"
                raise Refused(text, code=Code.INTERRUPTED)

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
            self._process.set_log_level(level)
        except ValueError as error:
            raise Refused(str(error), code=Code.NOT_SUPPORTED) from error

    async def reload(self, dry_run: bool) -> dict[str, list[str]]:
        """Serve what the configuration's file says now, and return the plan."""
        return await answer_reload(self._of_daemon().reload(dry_run=dry_run))

    async def upgrade(self) -> None:
        """Refuse, as there are no workers."""
        raise Refused(UPGRADE_NEEDS_WORKERS, code=Code.NOT_SUPPORTED)

    async def stop(self) -> None:
        """End in order, and do not wait for the end."""
        self._of_daemon().stop()

    def _of_daemon(self) -> Daemon:
        if self._daemon is None:
            text = "expected a command for a worker, found one for its supervisor"
            raise Refused(text, code=Code.NOT_SUPPORTED)
        return self._daemon

    def _services(self, name: str | None) -> Sequence[Service]:
        services = self._process.server.services
        chosen = [each for each in services if name in (None, each.name)]
        if name is not None and not chosen:
            raise unknown_service(name, (each.name for each in services))
        return chosen
