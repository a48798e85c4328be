"""Admission: who may still come in. Totals for a whole service, whatever its listeners."""

from __future__ import annotations


class Admission:
    """Counts a service's open connections against its limit.

    Args:
        max_connections: how many may be open at once.
    """

    __slots__ = ("max_connections", "open")

    def __init__(self, max_connections: int) -> None:
        self.max_connections = max_connections
        self.open = 0

    def admit(self) -> str | None:
        """Take one place. Returns why there is none, or None when it was taken; `release` gives it back."""
        if self.open >= self.max_connections:
            return "max_connections"
        self.open += 1
        return None

    def release(self) -> None:
        """Give one place back."""
        self.open -= 1
