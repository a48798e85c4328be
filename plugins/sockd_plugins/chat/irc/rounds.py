"""Rounds past all clients of a server, with one timer for all of them."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

ROUND = 15.0
"""Seconds from one round to the next."""


class Visited(Protocol):
    """Client that is looked after."""

    def look(self) -> None:
        """Do what is due: ask for a sign of life, or end."""


class Rounds:
    """Rounds of a server, which begin with the first client and end with the last.

    Args:
        clock: for the time between them.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._clients: dict[Visited, None] = {}
        self._next: IDelayedCall | None = None

    def add(self, client: Visited) -> None:
        """Look after a client from the next round on."""
        self._clients[client] = None
        if self._next is None:
            self._next = self._clock.callLater(ROUND, self._go)

    def remove(self, client: Visited) -> None:
        """Look after a client no more."""
        self._clients.pop(client, None)
        if not self._clients and self._next is not None:
            self._next.cancel()
            self._next = None

    def _go(self) -> None:
        self._next = self._clock.callLater(ROUND, self._go)
        for client in tuple(self._clients):
            if client in self._clients:  # an earlier one may have ended it
                client.look()
