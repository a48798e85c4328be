"""Layer that takes a place in the service for each stream."""

from __future__ import annotations

from functools import partial

from twisted.internet.interfaces import IProtocol

from sockd.stream.layers import Arrival


class Place:
    """Layer at which a stream takes a place, waits for one, or is turned away."""

    encrypts = False

    def enter(self, arrival: Arrival) -> IProtocol | None:
        """Return what serves the stream at the next layer once it has a place, and until it has."""
        reason = arrival.connections.take_place(arrival.host)
        if reason:
            return arrival.let_wait(reason, partial(self.enter, arrival))
        return arrival.go_on()
