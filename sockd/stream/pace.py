"""Pace at which a plugin is handed what its peers send, in each turn of the reactor.

The cost of a peer's data is not told by its size: of a line protocol's empty lines a read holds tens of
thousands. So the plugin is timed for one read in several. It is handed at once as much as it takes quickly,
and more than that in pieces. All connections that wait for their next piece share a budget in each turn of
the reactor, so that the others wait for the end of a turn, and not for them.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

LEAST = 256
"""Bytes in a piece: of empty lines that is as many answers, a millisecond's work."""

FIRST = 512
"""Bytes in the first piece of a new connection, and bytes that a quick one is handed at once in any case."""

MOST = 128 * 1024
"""Bytes in any piece. uvloop goes on reading from one connection, up to 32 times, as long as it finds
256,000 bytes there."""

UNTIMED = 1 / 8
"""Part of what a plugin takes quickly that it is handed before it is timed again."""

MOST_UNTIMED = int(MOST * UNTIMED)
"""Bytes that a plugin is handed untimed which has taken all of them quickly for long."""

PIECE = 0.0005
"""Seconds that a plugin may take for a piece."""

QUICK = PIECE / 4
"""Seconds within which a plugin might have taken more than it was handed."""

BUDGET = 0.002
"""Seconds of a turn for all connections of a service that wait for a piece; the rest of them wait on."""


class Reader(Protocol):
    """Reading side of a connection, as the pace sees it."""

    @property
    def transport(self) -> Any:
        """Transport of the reactor, or what encrypts on top of it."""

    @property
    def piece(self) -> int:
        """Bytes that its plugin may be handed in a turn."""

    def may_read(self) -> bool:
        """Return whether data may be handed on."""

    def read_on(self) -> None:
        """Read from the peer again, if nothing speaks against it."""

    def deliver_timed(self, data: bytes) -> None:
        """Hand data to the plugin, and learn from how long it took."""

    def fault(self, callback: str) -> None:
        """End the connection, as its plugin has raised in a callback."""


class Pace:
    """Pace of one service's plugin, and the queue of the connections that wait for their next piece.

    Args:
        clock: for the turns; its seconds should be monotonic.

    Attributes:
        size: bytes that the plugin takes quickly, going by the worst that was seen lately. A peer that has
            been easy to serve up to now may turn into one that is not.
        rests: rests of reads that take more than one turn, by connection; nothing more is read meanwhile.
    """

    __slots__ = ("_clock", "_due", "_waiting", "rests", "size")

    def __init__(self, clock: IReactorTime) -> None:
        self.size = MOST
        self._clock = clock
        self.rests: dict[Reader, memoryview] = {}
        self._waiting: dict[Reader, None] = {}  # those of whose rest a piece is to be handed on
        self._due = False

    def put_off(self, reader: Reader, data: bytes) -> None:
        """Keep a connection's data until `wait` is called."""
        self.rests[reader] = memoryview(data)

    def wait(self, reader: Reader) -> None:
        """Hand on the next piece of a connection's rest when it is its turn."""
        self._waiting[reader] = None
        self._go_on()

    def forget(self, reader: Reader) -> None:
        """Drop a connection's rest: all was handed on, or nobody wants it any more."""
        del self.rests[reader]
        self._waiting.pop(reader, None)

    def _go_on(self) -> None:
        if self._waiting and not self._due:
            self._due = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        """Hand on pieces as far as the budget goes; a rest that is not done waits behind the others."""
        until = self._clock.seconds() + BUDGET
        self._due = False
        while self._waiting:
            reader = next(iter(self._waiting))
            del self._waiting[reader]
            if reader.may_read():
                try:
                    self._deliver_piece(reader)
                except BaseException:  # a plugin may raise anything
                    reader.fault("dataReceived")
            if self._clock.seconds() >= until:
                break
        self._go_on()

    def deliver(self, reader: Reader, data: bytes) -> None:
        """Hand data to a plugin that is to be timed; in pieces, if it is more than it takes quickly."""
        if reader.piece == self.size == MOST >= len(data):  # quick for long, as most
            reader.deliver_timed(data)
            return
        was_slow = reader.piece < FIRST
        if len(data) <= self._portion(reader) and not was_slow:
            reader.deliver_timed(data)
            return
        reader.transport.pauseProducing()
        self.put_off(reader, data)
        if was_slow or self._due:
            self.wait(reader)
        else:
            self._deliver_piece(reader)

    def _deliver_piece(self, reader: Reader) -> None:
        """Hand on a piece, as large as the plugin can take."""
        rest, size = self.rests[reader], self._portion(reader)
        if len(rest) > size:
            self.rests[reader] = rest[size:]
        else:
            self.forget(reader)
        reader.deliver_timed(bytes(rest[:size]))
        reader.read_on()

    def _portion(self, reader: Reader) -> int:
        return min(reader.piece, max(FIRST, self.size))

    def learn(self, piece: int, size: int, took: float) -> tuple[int, int]:
        """Learn from how long a plugin took.

        Args:
            piece: bytes that this connection's plugin might be handed in a turn.
            size: bytes that it was handed.
            took: seconds that it took for them.

        Returns:
            The bytes that it may be handed in a turn from now on, and those until it is timed again.
        """
        if took >= QUICK or self.size < MOST:
            self.size = _learnt(self.size, size, took)
        return _learnt(piece, size, took), int(self.size * UNTIMED) if took < PIECE else 0


def _learnt(quickly: int, size: int, took: float) -> int:
    """Return the bytes that a plugin takes quickly, now that it took so many seconds for `size` of them."""
    if took > PIECE:
        return max(LEAST, min(quickly, int(size * PIECE / took)))
    if took < QUICK:
        return min(MOST, quickly + size)
    return quickly
