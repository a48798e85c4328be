"""What answers: the commands as methods."""

from __future__ import annotations

from typing import Any, Protocol


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
