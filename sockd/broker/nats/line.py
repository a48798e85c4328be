"""Way of subjects and registries to the stream, and who may go first."""

from __future__ import annotations

from typing import Protocol

from sockd.broker.contract import BrokerAway
from sockd.broker.nats.jetstream import Stream

AGAIN = 0.25
"""Seconds until a batch is tried again that nobody has answered to: a leader is missing for some of them."""


WANTED, NOT_WANTED = b"+", b"-"
"""First byte of a message about a turn; the process follows."""


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


def tell_turn(stream: Stream, subject: str, origin: str, *, wanted: bool) -> None:
    """Ask the other processes to let one be first in a subject of entries, or not to wait for it any more."""
    turn, data = subject.replace(".log.", ".turn.", 1), (WANTED if wanted else NOT_WANTED) + origin.encode()
    told = stream.publish(turn, data, headers={"Nats-Rollup": "sub", "Nats-TTL": "1h"})
    told.addErrback(lambda failure: failure.trap(BrokerAway) and None)  # asked again, if need be
