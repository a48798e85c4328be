"""Use of a connection: the stream is there, its messages are delivered without a gap, and both are proved.

Every `BEAT` seconds this process publishes a message of its own and waits until it is delivered. So others
hear that the process is alive, and it knows that the servers store and deliver. A server that answers to
PING, and stores nothing, is waited for; one that does not answer at all is left for another.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from sockd.broker.contract import BrokerAway
from sockd.broker.nats.connection import Connection
from sockd.broker.nats.jetstream import Consumer, Stored, Stream, StreamState, place_of
from sockd.broker.nats.table import REPLACE
from sockd.broker.nats.wire import Message

BEAT = 2.0
"""Seconds between two signs of life."""

SILENT = 2.0
"""Seconds without an answer, or without the delivery of what is stored, after which something is wrong."""

RETRY = 0.2
"""Seconds to the next try while the servers do not store: a leader may be missing."""

MISSES = 3
"""Failures in a row that show that the broker is away: a change of the leader in order takes 0.1 s."""

DELIVERED_SOON = 0.5
"""Seconds for a delivery after a failure: the consumer may have been on a server that is gone."""

LOAD = 10.0
"""Seconds for the reading of a registry: 100,000 records take one."""

LEASE = REPLACE | {"Nats-TTL": "1h"}
"""Headers of a sign of life: the last one of a process that is gone vanishes by itself."""


class Place(Protocol):
    """Place in the stream up to which this process knows it, over all connections."""

    origin: str
    cursor: int

    def begin(self, state: StreamState) -> None:
        """Take note of the stream's state, before its messages are delivered."""

    def deliver(self, stored: Stored) -> None:
        """Take the next message of the stream, behind the cursor."""

    def ready(self, stream: Stream) -> None:
        """Use the stream from now on."""

    def live(self) -> None:
        """Take note that messages are stored and delivered."""

    def missing(self, reason: str) -> None:
        """Take note that they are not, for a reason in words."""


class Session:
    """Use of a connection.

    Args:
        connection: to a server that has accepted this client.
        name: of the stream.
        wanted: configuration of the stream.
        place: takes what is delivered.
        clock: keeps the time.
        fault: called for an exception that is a fault of sockd itself.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        wanted: Mapping[str, Any],
        place: Place,
        clock: IReactorTime,
        fault: Callable[[Failure], None],
    ) -> None:
        self.stream = Stream(connection, name)
        self._connection = connection
        self._lease = f"{name}.live.{place.origin}"
        self._life = json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
        self._wanted = wanted
        self._place = place
        self._clock = clock
        self._fault = fault
        self._consumer: Consumer | None = None
        self._consumed = 0  # sequence of the consumer
        self._made = 0  # consumers so far
        self._misses = 0
        self._awaited: tuple[int, Deferred[None]] | None = None
        self._pause: Deferred[None] | None = None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to use the connection."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._failed)

    def end(self) -> None:
        """End it: the connection is lost, or will be."""
        if self._running is not None:
            self._running.cancel()

    def doubt(self) -> None:
        """Beat at once."""
        if self._pause is not None:
            pause, self._pause = self._pause, None
            pause.callback(None)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._fault(failure)
            self._connection.abort("a fault of the client")

    async def _run(self) -> None:
        begun = False
        while True:
            try:
                if not begun:
                    self._drop_consumer()
                    self._place.begin(await self.stream.ensure(self._wanted))
                    begun = True
                if self._consumer is None:
                    await self._consume()
                    self._place.ready(self.stream)
                await self._beat()
                self._misses = 0
                self._place.live()
                await self._sleep(BEAT)
            except BrokerAway as error:
                self._misses += 1
                if self._misses >= MISSES:
                    self._place.missing(str(error))
                    begun = False  # the stream may have been deleted
                await self._answers()
                await self._sleep(RETRY, hurry=False)

    async def _consume(self) -> None:
        """Have everything delivered that is behind the cursor."""
        self._consumed = 0
        self._made += 1
        made = self._made
        self._consumer = await self.stream.consume(
            lambda message: self._take(message, made), self._place.cursor + 1
        )

    def _take(self, message: Message, made: int) -> None:
        """Take a delivered message, if it is the next one."""
        place = place_of(message)
        if place is None or made != self._made:
            return
        seq, number = place
        if number != self._consumed + 1:
            self._drop_consumer()  # something was lost: begin again behind the cursor
            self.doubt()
            return
        self._consumed = number
        if seq > self._place.cursor:
            self._place.cursor = seq
            self._place.deliver(Stored(seq, message.subject, message.data))
        if self._awaited is not None and self._awaited[0] <= seq:
            awaited, self._awaited = self._awaited[1], None
            awaited.callback(None)

    def _drop_consumer(self) -> None:
        if self._consumer is not None:
            self._made += 1
            self._consumer.close()
            self._consumer = None

    async def beat(self) -> int:
        """Publish a sign of life, and return its place."""
        return await self.stream.publish(self._lease, self._life, headers=LEASE)

    async def _beat(self) -> None:
        """Publish a sign of life, and wait for its delivery.

        Raises:
            BrokerAway: it was not stored, or not delivered.
        """
        seq = await self.beat()
        if self._place.cursor >= seq:
            return
        delivered: Deferred[None] = Deferred()
        self._awaited = seq, delivered
        try:
            await delivered.addTimeout(DELIVERED_SOON if self._misses else SILENT, self._clock)
        except TimedOut as error:
            self._awaited = None
            self._drop_consumer()
            raise BrokerAway("the servers store, and deliver nothing") from error

    async def _answers(self) -> None:
        """Leave a server that does not answer."""
        try:
            await self._connection.ping().addTimeout(SILENT, self._clock)
        except TimedOut:
            self._connection.abort(f"no answer within {SILENT:g} s")

    async def _sleep(self, seconds: float, *, hurry: bool = True) -> None:
        """Wait for so many seconds, or until something is in doubt."""
        pause: Deferred[None] = Deferred()
        if hurry:
            self._pause = pause
        try:
            await pause.addTimeout(seconds, self._clock)
        except TimedOut:
            pass
        finally:
            self._pause = None

    async def load(self, prefix: str, take: Callable[[Stored], None]) -> None:
        """Read the last message of each subject that begins so.

        The own sign of life is published first, and read too. What was stored before it has then been read,
        also from a server that lags behind.

        Raises:
            BrokerAway: they cannot be read.
        """
        barrier = await self.beat()
        read: Deferred[None] = Deferred()

        def taken(message: Message) -> None:
            place = place_of(message)
            if place is None or read.called:
                return
            if message.subject != self._lease:
                take(Stored(place[0], message.subject, message.data))
            if place[0] >= barrier:
                read.callback(None)

        consumer = await self.stream.consume(taken, None, [f"{prefix}>", self._lease])
        try:
            await read.addTimeout(LOAD, self._clock)
        except TimedOut as error:
            raise BrokerAway("a registry could not be read") from error
        finally:
            consumer.close()

    def leave(self) -> None:
        """Tell the others that this process ends."""
        self.stream.connection.publish(self._lease, b"", headers=LEASE)
