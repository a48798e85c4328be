"""What answers: the commands as methods, and how one process carries them out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from sockd.config import as_dict, report
from sockd.control.words import Refused, unknown
from sockd.errors import ConfigError


class Operator(Protocol):
    """Carries out each command; raises `Refused` where the answer is no. A service of None means all."""

    async def status(self) -> dict[str, Any]:
        """How everything is: the snapshot."""
        ...

    async def ps(self) -> list[dict[str, Any]]:
        """A row for each connection."""
        ...

    async def kick(self, id: str) -> None:  # noqa: A002  # the argument's name in the protocol
        """Cut one connection."""
        ...

    async def drain(self, service: str | None) -> None:
        """Accept no more, and come back when the last connection is gone."""
        ...

    async def pause(self, service: str | None) -> None:
        """Accept no more; what is open goes on."""
        ...

    async def resume(self, service: str | None) -> None:
        """Accept again."""
        ...

    async def set(self, service: str | None, key: str, value: str) -> None:
        """Change one limit until the next start or reload."""
        ...

    async def log(self, level: str) -> None:
        """Write events of this level and above from now on."""
        ...

    async def reload(self, dry_run: bool) -> dict[str, list[str]]:
        """Go over to what the configuration file says now; the plan, with the services of each step."""
        ...

    async def upgrade(self) -> Any:
        """Go over to new code without losing a connection."""
        ...

    async def stop(self) -> None:
        """Begin to end in order."""
        ...


class LocalOperator:
    """Carries out the commands in this process.

    Args:
        server: what serves.
        set_level: changes the level of the log.
        reload: reads the configuration file and makes it hold, or only the plan when given True.
        stop: begins to end the daemon; must return before it has ended.
    """

    def __init__(
        self,
        server: Any,
        set_level: Callable[[str], None],
        reload: Callable[[bool], Awaitable[dict[str, list[str]]]],
        stop: Callable[[], None],
    ) -> None:
        self._server = server
        self._set_level = set_level
        self._reload = reload
        self._stop = stop
        self._reloading = False

    async def status(self) -> dict[str, Any]:
        """The snapshot."""
        snapshot: dict[str, Any] = self._server.snapshot()
        return snapshot

    async def ps(self) -> list[dict[str, Any]]:
        """A row for each connection."""
        peers: list[dict[str, Any]] = self._server.peers()
        return peers

    async def kick(self, id: str) -> None:  # noqa: A002  # the argument's name in the protocol
        """Cut one connection."""
        if not self._server.kick(id):
            raise Refused(f"expected a connection as `sockd ps` lists them, found '{id[:80]}'")

    async def drain(self, service: str | None) -> None:
        """Accept no more, and wait for the last connection."""
        self._check(service)
        await self._server.drain(service)

    async def pause(self, service: str | None) -> None:
        """Accept no more."""
        self._check(service)
        self._server.pause(service)

    async def resume(self, service: str | None) -> None:
        """Accept again."""
        self._check(service)
        self._server.resume(service)

    async def set(self, service: str | None, key: str, value: str) -> None:
        """Change one limit."""
        self._check(service)
        try:
            self._server.set_limit(service, key, value)
        except ValueError as error:
            raise Refused(str(error)) from error

    async def log(self, level: str) -> None:
        """Change the level of the log."""
        self._set_level(level)

    async def reload(self, dry_run: bool) -> dict[str, list[str]]:
        """Make the configuration file hold, one attempt at a time."""
        if self._reloading:
            raise Refused("another reload is under way")
        self._reloading = True
        try:
            return await self._reload(dry_run)
        except ConfigError as error:
            faults = [as_dict(fault) for fault in error.faults]
            raise Refused(str(error), {"faults": faults, "report": report(error.faults)}) from error
        except ExceptionGroup as group:
            lines = [str(error) for error in group.exceptions]
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            raise Refused(f"nothing was changed: {lines[0]}{more}", {"report": "\n".join(lines)}) from group
        finally:
            self._reloading = False

    async def upgrade(self) -> None:
        """Refuse: a single process has nobody to hand its connections to."""
        raise Refused("an upgrade needs workers: set workers above 0 in [daemon], or restart the daemon")

    async def stop(self) -> None:
        """Begin to end."""
        self._stop()

    def _check(self, service: str | None) -> None:
        known = [each["name"] for each in self._server.snapshot()["services"]]
        if service is not None and service not in known:
            raise Refused(unknown("a service", service, known))
