"""A service's part of a broker: its names are its own, and all that it has opened ends with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sockd.broker.contract import Receiver, Registry, State, Subject, Watcher, check_name

Fault = Callable[[], None]
"""Called in the handler of an exception that a plugin's receiver or watcher has raised."""


class Core(Protocol):
    """Broker of a whole process, which its services share."""

    @property
    def origin(self) -> str:
        """Name of this process."""
        ...

    @property
    def shared(self) -> bool:
        """Tell whether there may be other processes."""
        ...

    @property
    def state(self) -> State:
        """State: whether entries can be published now."""
        ...

    @property
    def why(self) -> str:
        """Reason for being away, in words; empty while connected."""
        ...

    @property
    def server(self) -> str:
        """Address of the server in use; empty without one."""
        ...

    def watch(self, told: Callable[[State], None]) -> Callable[[], None]:
        """Have each change of the state told; returns what ends that."""
        ...

    def subject(
        self, service: str, name: str, receiver: Receiver, after: int | None, fault: Fault
    ) -> Subject:
        """Subscribe to a subject of a service."""
        ...

    def registry(self, service: str, name: str, watcher: Watcher, fault: Fault) -> Registry:
        """Join a registry of a service."""
        ...

    def start(self) -> None:
        """Begin to connect."""

    async def stop(self) -> None:
        """Publish what waits, as far as that is quick, and disconnect."""


class Scope:
    """Broker as a service has it.

    Args:
        core: broker of the process.
        service: name of the service.
        fault: called for exceptions of the plugin.
    """

    def __init__(self, core: Core, service: str, fault: Fault) -> None:
        self._core = core
        self._service = service
        self._fault = fault
        self._opened: list[Subject | Registry] = []
        self._watches: list[Callable[[], None]] = []

    @property
    def origin(self) -> str:
        """Name of this process among all others."""
        return self._core.origin

    @property
    def shared(self) -> bool:
        """Tell whether there may be other processes."""
        return self._core.shared

    @property
    def state(self) -> State:
        """State: whether entries can be published now."""
        return self._core.state

    def watch(self, told: Callable[[State], None]) -> Callable[[], None]:
        """Have each later change of the state told; returns what ends that."""

        def guarded(state: State) -> None:
            try:
                told(state)
            except Exception:  # a plugin may raise anything
                self._fault()

        end = self._core.watch(guarded)
        self._watches.append(end)
        return end

    def subject(self, name: str, receiver: Receiver, after: int | None = None) -> Subject:
        """Subscribe to a subject."""
        opened = self._core.subject(self._service, check_name(name), receiver, after, self._fault)
        self._opened.append(opened)
        return opened

    def registry(self, name: str, watcher: Watcher) -> Registry:
        """Join a registry."""
        joined = self._core.registry(self._service, check_name(name), watcher, self._fault)
        self._opened.append(joined)
        return joined

    def close(self) -> None:
        """Close all that was opened."""
        for end in self._watches:
            end()
        opened, self._opened = self._opened, []
        for each in opened:
            each.close()
