"""Watch of names: clients are told when somebody comes or goes, in whatever rooms (IRCv3 `MONITOR`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from sockd_plugins.chat.hub.names import fold

MAX_MONITORED = 100
"""Names that one client may watch."""


class Watching(Protocol):
    """Client that watches names."""

    def tell_of(self, name: str, used: bool) -> None:
        """Tell the client that a name has come into use, or out of it."""


class Monitors:
    """Watched names of all clients of a server."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[Watching, str]] = {}
        self._by_client: dict[Watching, dict[str, None]] = {}

    def add(self, client: Watching, name: str) -> bool:
        """Watch a name for a client; return False if it watches as many as it may."""
        names = self._by_client.setdefault(client, {})
        if fold(name) not in names and len(names) >= MAX_MONITORED:
            return False
        names[fold(name)] = None
        self._by_name.setdefault(fold(name), {})[client] = name
        return True

    def remove(self, client: Watching, name: str) -> None:
        """Watch a name for a client no more."""
        self._by_client.get(client, {}).pop(fold(name), None)
        watchers = self._by_name.get(fold(name), {})
        watchers.pop(client, None)
        if not watchers:
            self._by_name.pop(fold(name), None)

    def forget(self, client: Watching) -> None:
        """Watch nothing for a client any more."""
        for name in tuple(self._by_client.pop(client, ())):
            self.remove(client, name)

    def of(self, client: Watching) -> Iterable[str]:
        """Return the names that a client watches, as it has spelt them."""
        return [self._by_name[name][client] for name in self._by_client.get(client, ())]

    def tell(self, name: str, used: bool) -> None:
        """Tell those who watch a name that it has come into use, or out of it."""
        for client in tuple(self._by_name.get(fold(name), ())):
            client.tell_of(name, used)
