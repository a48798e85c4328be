"""Way of subjects and registries to the stream."""

from __future__ import annotations

from typing import Protocol

from sockd.broker.nats.jetstream import Stream

AGAIN = 0.25
"""Seconds until a batch is tried again that nobody has answered to: a leader is missing for some of them."""


class Line(Protocol):
    """Way to the stream."""

    origin: str

    @property
    def stream(self) -> Stream | None:
        """The stream; None while there is no connection on which it can be used."""
        ...

    @property
    def away(self) -> str:
        """Reason for which nothing can be published; empty while it can."""
        ...

    def now(self) -> float:
        """Return the time of day, in seconds since 1970."""
        ...

    def count(self) -> int:
        """Return the next number for a batch of this process."""
        ...

    def doubt(self) -> None:
        """Find out at once whether the stream can be used, as something was not answered."""
