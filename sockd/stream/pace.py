"""How much of what a peer sends is handed to a plugin in one turn of the reactor.

What a peer sends may cost far more than its size tells: of a line protocol's empty lines a read holds tens
of thousands. So now and then a connection's plugin is timed. It is handed at once what it takes quickly, and
more than that in pieces. All who wait for their next piece share a budget in each turn of the reactor, so
that others wait for a turn's end, and not for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

if TYPE_CHECKING:
    from sockd.stream.connection import Connection

LEAST = 256
"""Bytes in a piece: of empty lines that is as many answers, a millisecond's work."""

FIRST = 512
"""Bytes in the first piece of a new connection, and what one that was quick is handed at once in any case."""

MOST = 128 * 1024
"""Bytes in any piece. uvloop goes on reading from one connection, up to 32 times, as long as it finds
256,000 bytes there."""

UNTIMED = 1 / 8
"""Of what a plugin takes quickly: it is handed so much before it is timed again."""

MOST_UNTIMED = int(MOST * UNTIMED)
"""Bytes: of one that has taken everything quickly for long."""

PIECE = 0.0005
"""Seconds that a plugin may take for a piece."""

QUICK = PIECE / 4
"""Seconds within which it might have taken more."""

BUDGET = 0.002
"""Seconds of a turn for all who wait for a piece of a service; the others wait meanwhile."""


class Pace:
    """How a service's plugin copes with what its peers send.

    Args:
        clock: for the turns; its seconds should be monotonic.

    Attributes:
        size: bytes that it takes quickly, going by the worst that was seen lately. A peer that has been easy
            to serve up to now may turn into one that is not.
    """

    __slots__ = ("_clock", "_due", "_waiting", "size")

    def __init__(self, clock: IReactorTime) -> None:
        self.size = MOST
        self._clock = clock
        self._waiting: dict[Rest, None] = {}
        self._due = False

    @property
    def busy(self) -> bool:
        """Whether somebody waits."""
        return self._due

    def wait(self, rest: Rest) -> None:
        """It wants its next piece."""
        self._waiting[rest] = None
        self._go_on()

    def forget(self, rest: Rest) -> None:
        """It wants no more."""
        self._waiting.pop(rest, None)

    def _go_on(self) -> None:
        if self._waiting and not self._due:
            self._due = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        """One after the other, as far as the budget goes; who is not done waits behind the others."""
        until = self._clock.seconds() + BUDGET
        self._due = False
        while self._waiting:
            rest = next(iter(self._waiting))
            del self._waiting[rest]
            rest.have_turn()
            if self._clock.seconds() >= until:
                break
        self._go_on()


class Rest:
    """What is left of a read that takes more than one turn; nothing more is read meanwhile.

    Args:
        connection: whose plugin it is for.
        data: all of it.
    """

    __slots__ = ("_connection", "_data")

    def __init__(self, connection: Connection, data: bytes) -> None:
        self._connection = connection
        self._data = memoryview(data)

    def end(self) -> None:
        """All was handed on, or nobody wants it any more."""
        self._connection.rest = None
        self._connection.connections.pace.forget(self)

    def go_on(self) -> None:
        """Hand on the next piece when the others have had their turn."""
        self._connection.connections.pace.wait(self)

    def have_turn(self) -> None:
        """Hand on the next piece, if that is still wanted."""
        connection = self._connection
        if connection.rest is self and connection.may_read():
            try:
                self.deliver_piece()
            except BaseException:  # a plugin may raise anything
                connection.fault("dataReceived")

    def deliver_piece(self) -> None:
        """Hand on a piece, as large as the plugin can take."""
        size = _portion(self._connection)
        piece, self._data = bytes(self._data[:size]), self._data[size:]
        if not self._data:
            self.end()
        _deliver_timed(self._connection, piece)
        self._connection.read_on()


def deliver(connection: Connection, data: bytes) -> None:
    """Hand data to the plugin and see how long it takes; in pieces, if it is more than it takes quickly."""
    if connection.piece == connection.connections.pace.size == MOST >= len(data):  # quick for long, as most
        _deliver_timed(connection, data)
        return
    was_slow = connection.piece < FIRST
    if len(data) <= _portion(connection) and not was_slow:
        _deliver_timed(connection, data)
        return
    connection.transport.pauseProducing()
    connection.rest = rest = Rest(connection, data)
    if was_slow or connection.connections.pace.busy:
        rest.go_on()
    else:
        rest.deliver_piece()


def _portion(connection: Connection) -> int:
    return min(connection.piece, max(FIRST, connection.connections.pace.size))


def _deliver_timed(connection: Connection, piece: bytes) -> None:
    connections = connection.connections
    seconds = connections.seconds
    began = seconds()
    connection.protocol.dataReceived(piece)
    took = seconds() - began
    pace = connections.pace
    if took < QUICK and connection.piece == pace.size == MOST:  # nothing is learnt: on the way of messages
        connection.untimed = MOST_UNTIMED
        return
    size = len(piece)
    pace.size = _learnt(pace.size, size, took)
    connection.piece = _learnt(connection.piece, size, took)
    connection.untimed = int(pace.size * UNTIMED) if took < PIECE else 0


def _learnt(quickly: int, size: int, took: float) -> int:
    """How many bytes a plugin takes quickly, now that it took so long for `size` of them."""
    if took > PIECE:
        return max(LEAST, min(quickly, int(size * PIECE / took)))
    if took < QUICK:
        return min(MOST, quickly + size)
    return quickly
