"""Older batches of a subject, from the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from sockd.broker.batches import Batch, BatchFault, decode
from sockd.broker.contract import BrokerAway
from sockd.broker.nats.jetstream import Stored, Stream

LAG, MOST_LAGS = 0.1, 50
"""Seconds between two questions to servers that lag behind, and how often they are asked."""


async def read_behind(
    stream: Stream, subject: str, number: int, end: int, clock: IReactorTime
) -> AsyncIterator[tuple[Stored, Batch]]:
    """Yield the batches with entries behind a number, up to a place.

    Places and numbers grow together, so the first one is found by halving the range of places.
    """
    low, high = 1, end
    while low < high:
        middle = (low + high) // 2
        found = await stream.first_from(subject, middle)
        if found is None or found.seq > end:
            high = middle
            continue
        batch = batch_of(found)
        if batch is not None and batch.last <= number:
            low = found.seq + 1
        else:
            high = middle
    patience = MOST_LAGS
    while low <= end and patience:
        some = await stream.read(subject, low)
        for stored in some:
            batch = batch_of(stored)
            if stored.seq <= end and batch is not None:
                yield stored, batch
        if some:
            low = some[-1].seq + 1
        else:  # by a server that lags behind
            patience -= 1
            await deferLater(clock, LAG)
    if low <= end:
        raise BrokerAway("a server lags behind")


def batch_of(stored: Stored) -> Batch | None:
    """Return the batch in a message; None if something else was published to the subject."""
    try:
        return decode(stored.data)
    except BatchFault:
        return None
