"""Marks of how far people have read, for all clients of an account (draft/read-marker).

They are kept in memory: a client that comes back finds them, and after a restart there are none.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from sockd_plugins.chat.hub.names import fold

MOST_READERS = 10_000
"""Readers whose marks are kept; those that were quiet for longest are forgotten first."""

MOST_MARKS = 200
"""Rooms and people of one reader; likewise."""

Client = TypeVar("Client", bound=Hashable)


class Markers(Generic[Client]):
    """Marks of readers, and the clients of each. A client without an account is a reader of its own."""

    def __init__(self) -> None:
        self._marks: dict[Hashable, dict[str, float]] = {}
        self._clients: dict[Hashable, dict[Client, None]] = {}

    def add(self, client: Client, account: str) -> None:
        """Note a client of a reader."""
        self._clients.setdefault(account or client, {})[client] = None

    def remove(self, client: Client, account: str) -> None:
        """Forget a client; marks of an account are kept."""
        others = self._clients.get(account or client, {})
        others.pop(client, None)
        if not others:
            self._clients.pop(account or client, None)
        if not account:
            self._marks.pop(client, None)

    def clients(self, client: Client, account: str) -> tuple[Client, ...]:
        """Return all clients of a client's reader."""
        return tuple(self._clients.get(account or client, ()))

    def read_until(self, client: Client, account: str, target: str) -> float | None:
        """Return the time up to which a room or the words of a person are read, in seconds since 1970."""
        return self._marks.get(account or client, {}).get(fold(target))

    def move(self, client: Client, account: str, target: str, at: float) -> float:
        """Move a mark forward; return where it is."""
        marks = self._marks.pop(account or client, {})
        before = marks.pop(fold(target), at)
        marks[fold(target)] = now = max(before, at)
        if len(marks) > MOST_MARKS:
            del marks[next(iter(marks))]
        self._marks[account or client] = marks
        if len(self._marks) > MOST_READERS:
            del self._marks[next(iter(self._marks))]
        return now
